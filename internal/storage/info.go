package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Free returns how many bytes an ordinary user can still write in dir's file system.
func Free(dir string) (int64, error) {
	st, err := statfs(dir)
	if err != nil {
		return 0, err
	}
	free := int64(st.Bavail) * st.Bsize
	if uint32(st.Type) == unix.BTRFS_SUPER_MAGIC {
		free = max(0, free-btrfsPending(dir))
	}
	return free, nil
}

// btrfsPending returns how many bytes of data btrfs has promised to writers and not put on disk yet: gigabytes at
// times. Unlike ext4 and XFS its statfs does not count them. 0 when the kernel does not tell.
func btrfsPending(dir string) int64 {
	f, err := os.Open(dir)
	if err != nil {
		return 0
	}
	defer f.Close()
	// BTRFS_IOC_FS_INFO of linux/btrfs.h; the file system's id is at byte 16 of the answer.
	const fsInfo = 0x8400941f
	var answer [1024]byte
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsInfo, uintptr(unsafe.Pointer(&answer))); errno != 0 {
		return 0
	}
	id := answer[16:32]
	sys := fmt.Sprintf("/sys/fs/btrfs/%x-%x-%x-%x-%x/allocation/data", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	sum := int64(0)
	// In this order bytes only wander from the first to the second: they may count twice, never not at all.
	for _, name := range []string{"bytes_may_use", "bytes_reserved"} {
		text, err := os.ReadFile(filepath.Join(sys, name))
		if err != nil {
			continue
		}
		n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		sum += max(0, n)
	}
	return sum
}

// Size returns the length of dir's file system, in bytes.
func Size(dir string) (int64, error) {
	st, err := statfs(dir)
	return int64(st.Blocks) * st.Bsize, err
}

// freeWait bounds FreeFor's wait. Linux frees a killed VMM's memory file up to 1.5 s after the process is gone.
const freeWait = 2 * time.Second

// FreeFor is Free, but waits while there are fewer than need bytes for what was removed of late: a journal counts
// blocks as taken until it is written, and a file that was mapped is freed in the background.
func FreeFor(ctx context.Context, dir string, need int64) (int64, error) {
	for deadline := time.Now().Add(freeWait); ; {
		free, err := Free(dir)
		if err != nil || free >= need || time.Now().After(deadline) || ctx.Err() != nil {
			return free, err
		}
		if SyncFS(dir) != nil {
			return free, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// fsNames names the file systems that noid's storage is likely to meet. The numbers are those of statfs(2).
var fsNames = map[uint32]string{
	unix.EXT4_SUPER_MAGIC:      "ext4", // ext2 and ext3 share it
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.F2FS_SUPER_MAGIC:      "f2fs",
	unix.NFS_SUPER_MAGIC:       "nfs",
	unix.FUSE_SUPER_MAGIC:      "fuse",
	unix.V9FS_MAGIC:            "9p",
	unix.ECRYPTFS_SUPER_MAGIC:  "ecryptfs",
	unix.RAMFS_MAGIC:           "ramfs",
	0x2fc12fc1:                 "zfs",      // OpenZFS, include/sys/fs/zfs.h
	0xca451a4e:                 "bcachefs", // fs/bcachefs/bcachefs_format.h
}

// FSType names the file system of dir, or gives its number ("0x1234") when it has no name here. It is "unknown" when
// dir cannot be looked at.
func FSType(dir string) string {
	st, err := statfs(dir)
	if err != nil {
		return "unknown"
	}
	if name, ok := fsNames[uint32(st.Type)]; ok {
		return name
	}
	return fmt.Sprintf("%#x", uint32(st.Type))
}

func statfs(dir string) (unix.Statfs_t, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return st, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return st, nil
}

// Reflinks tries whether files in dir can share blocks. The file system's type does not tell: XFS can be made
// without.
func Reflinks(dir string) (bool, error) {
	shares, err := reflinks(dir)
	if err != nil {
		return false, fmt.Errorf("trying reflinks: %w", explain(err, filepath.Join(dir, tempPrefix)))
	}
	return shares, nil
}

func reflinks(dir string) (bool, error) {
	src, err := probe(dir)
	if err != nil {
		return false, err
	}
	defer src.Close()
	dst, err := probe(dir)
	if err != nil {
		return false, err
	}
	defer dst.Close()
	// One whole block of data: an empty file, or one that btrfs keeps inside its metadata, proves nothing.
	if _, err := src.Write(make([]byte, 64<<10)); err != nil {
		return false, err
	}
	err = retry(func() error { return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) })
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EIO) {
		return false, err
	}
	return err == nil, nil
}

// probe makes a file in dir that is gone when it is closed.
func probe(dir string) (*os.File, error) {
	if f, err := unnamed(dir); err == nil {
		return f, nil
	}
	f, err := os.CreateTemp(dir, tempPrefix)
	if err == nil {
		os.Remove(f.Name())
	}
	return f, err
}

// Usage returns the length of the file path and the bytes of disk it takes, shared ones included.
func Usage(path string) (length, onDisk int64, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, 0, err
	}
	return info.Size(), diskBytes(info), nil
}

// diskBytes is the bytes of disk that the file of info takes.
func diskBytes(info fs.FileInfo) int64 {
	return info.Sys().(*syscall.Stat_t).Blocks * 512 // stat(2): always units of 512 bytes
}
