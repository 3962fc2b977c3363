// Package listing says what a kernel says of the files below a directory, for tests that compare two trees.
package listing

import (
	"fmt"
	"hash/crc64"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// File is what a kernel says of a file.
type File struct {
	Mode          string
	UID, GID      uint32
	Size          int64 // in bytes, of regular files and symbolic links
	Time          time.Time
	Device        uint64
	Target, First string // First is the first name of the same file
	Links         uint64
	Xattrs        map[string]string
	Sum           uint64
	Blocks        int64 // of 512 bytes
}

// Files returns the files below root by their names, root itself as ".". It leaves out those in skip, and what is in
// them.
func Files(root string, skip ...string) (map[string]*File, error) {
	list, first := map[string]*File{}, map[uint64]string{}
	return list, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if slices.Contains(skip, name) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		f, ino, err := file(path, e)
		if err != nil {
			return err
		}
		if first[ino] == "" {
			first[ino] = name
		}
		f.First, list[name] = first[ino], f
		return nil
	})
}

func file(path string, e fs.DirEntry) (f *File, inode uint64, err error) {
	info, err := e.Info()
	if err != nil {
		return nil, 0, err
	}
	st := info.Sys().(*syscall.Stat_t)
	f = &File{Mode: info.Mode().String(), UID: st.Uid, GID: st.Gid, Time: info.ModTime().UTC(), Device: st.Rdev, Links: uint64(st.Nlink), Blocks: st.Blocks}
	if f.Xattrs, err = xattrs(path); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case info.Mode().IsRegular():
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, 0, err
		}
		f.Size, f.Sum = st.Size, Sum(data)
	case info.Mode().Type() == fs.ModeSymlink:
		if f.Target, err = os.Readlink(path); err != nil {
			return nil, 0, err
		}
		f.Size = st.Size
	}
	return f, st.Ino, nil
}

var polynomial = crc64.MakeTable(crc64.ECMA)

// Sum is the sum in File of data: one that an emulated guest is quick with.
func Sum(data []byte) uint64 { return crc64.Checksum(data, polynomial) }

// xattrs are a file's extended attributes, but what SELinux has noted.
func xattrs(path string) (map[string]string, error) {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return nil, err
	}
	var list map[string]string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" || name == "security.selinux" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if list == nil {
			list = map[string]string{}
		}
		list[name] = string(value[:n])
	}
	return list, nil
}
