package changes

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What a layer calls a file that is gone, and a directory whose old content is.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// file is one, by whatever name.
type file struct{ dev, ino uint64 }

// names are those of a file.
type names struct {
	first string
	left  uint64 // how many more it has
	known map[string]bool
}

// directory writes a directory.
func (c *writer) directory(dir int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return about(name, err)
	}
	h := header(name+"/", &st)
	if h.Typeflag = tar.TypeDir; name == "" {
		h.Name = "./"
	}
	c.attributes(h, dir)
	return c.tar.WriteHeader(h)
}

// marker writes an empty file that says something to who unpacks the layer.
func (c *writer) marker(dir, name string) error {
	return c.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(dir, name), Mode: 0o600, Format: tar.FormatPAX})
}

var kinds = map[uint32]byte{unix.S_IFREG: tar.TypeReg, unix.S_IFLNK: tar.TypeSymlink, unix.S_IFCHR: tar.TypeChar, unix.S_IFBLK: tar.TypeBlock, unix.S_IFIFO: tar.TypeFifo}

// file writes what is called base in dir, and is no directory.
func (c *writer) file(dir int, base, name string, st *unix.Stat_t) error {
	h := header(name, st)
	kind, ok := kinds[st.Mode&unix.S_IFMT]
	if !ok { // a socket is of no use without its process
		return nil
	}
	h.Typeflag = kind
	device := kind == tar.TypeChar || kind == tar.TypeBlock
	if device {
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	}
	if strings.HasPrefix(base, whiteoutPrefix) || device && st.Rdev == 0 { // a layer, and overlayfs, mean something else
		c.warn(fmt.Sprintf("%q is left out: no layer can have it", "/"+name))
		return nil
	}
	if linked, err := c.link(h, st); linked || err != nil {
		return err
	}
	switch kind {
	case tar.TypeReg:
		return c.regular(dir, base, h)
	case tar.TypeSymlink:
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, base, target)
		if err != nil {
			return about(name, err)
		}
		if h.Linkname = string(target[:n]); c.linksTrust(name, h.Linkname) {
			return nil
		}
	}
	return c.tar.WriteHeader(h)
}

// link writes another name of a file that is in the layer already.
func (c *writer) link(h *tar.Header, st *unix.Stat_t) (bool, error) {
	if st.Nlink < 2 {
		return false, nil
	}
	key := file{uint64(st.Dev), st.Ino}
	n := c.files[key]
	if n == nil {
		c.files[key] = &names{first: h.Name, left: uint64(st.Nlink) - 1, known: map[string]bool{h.Name: true}}
		return false, nil
	}
	n.known[h.Name] = true
	if n.left > 0 {
		n.left--
	}
	h.Typeflag, h.Linkname = tar.TypeLink, n.first
	return true, c.tar.WriteHeader(h)
}

// regular writes a file with its content, as long as it is when it is opened.
func (c *writer) regular(dir int, base string, h *tar.Header) error {
	fd, err := open(dir, base, 0)
	if err != nil {
		return about(h.Name, err)
	}
	f := os.NewFile(uintptr(fd), h.Name)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%q is no regular file any more", "/"+h.Name)
	}
	h.Size = st.Size
	var content io.Reader = f
	if c.trusts(h.Name, h.Size) {
		data, err := io.ReadAll(io.LimitReader(f, h.Size))
		if err != nil {
			return about(h.Name, err)
		}
		if data = c.distrust(h.Name, data); data == nil {
			return nil
		}
		content, h.Size = bytes.NewReader(data), int64(len(data))
	}
	c.attributes(h, fd)
	if err := c.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyBuffer(c.tar, io.LimitReader(content, h.Size), c.buf)
	if err == nil && n < h.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return about(h.Name, err)
	}
	return nil
}

// otherNames finds the names of changed files that the upper directory does not have: overlayfs, whose index knows
// them, shows the change by all names of a file.
func (c *writer) otherNames(root int) error {
	more := false
	for _, n := range c.files {
		more = more || n.left > 0
	}
	if !more {
		return nil
	}
	return c.search(root, "", 1)
}

func (c *writer) search(dir int, name string, depth int) error {
	return each(dir, name, func(base string) error {
		at := path.Join(name, base)
		var st unix.Stat_t
		if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return about(at, err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return c.within(dir, base, at, depth, func(sub int) error { return c.search(sub, at, depth+1) })
		}
		n := c.files[file{uint64(st.Dev), st.Ino}]
		if n == nil || n.left == 0 || n.known[at] || left(at) {
			return nil
		}
		_, err := c.link(header(at, &st), &st)
		return err
	})
}

// header is what all kinds of entries have in common. PAX alone has nanoseconds, and names of any length and bytes.
func header(name string, st *unix.Stat_t) *tar.Header {
	return &tar.Header{Format: tar.FormatPAX, Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), ModTime: time.Unix(st.Mtim.Unix())}
}

// attributes puts the extended attributes of a file or directory into its header, but for labels of this machine's.
func (c *writer) attributes(h *tar.Header, fd int) {
	list := make([]byte, 64<<10) // the kernel's limit for names and for a value
	n, err := unix.Flistxattr(fd, list)
	if err != nil || n == 0 {
		return
	}
	value := make([]byte, 64<<10)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if !kept(name) {
			continue
		}
		if strings.Contains(name, "=") {
			c.warn(fmt.Sprintf("%q: no layer can name its extended attribute %q", "/"+h.Name, name))
			continue
		}
		n, err := unix.Fgetxattr(fd, name, value)
		if err != nil {
			c.warn(fmt.Sprintf("%q: its extended attribute %q: %v", "/"+h.Name, name, err))
			continue
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = string(value[:n])
	}
}

// kept reports whether an image keeps the extended attribute.
func kept(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.") && !strings.HasPrefix(name, "trusted.overlay.")
}
