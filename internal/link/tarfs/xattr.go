package tarfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Extended attributes that mean something here.
const (
	capability = "security.capability"
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

// attributePrefix begins the names of the records that hold extended attributes, as star's, GNU tar's and bsdtar's do.
const attributePrefix = "SCHILY.xattr."

// archived reports whether -a keeps the extended attribute. Others, such as SELinux's labels, are this machine's.
func archived(name string) bool {
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.") ||
		name == capability || name == accessACL || name == defaultACL
}

// attributes puts f's into its header.
func (c *creator) attributes(h *tar.Header, f *os.File) {
	if !c.opts.Owners {
		return
	}
	attrs, err := attributes(f, archived)
	if err != nil {
		c.skip("%q: its extended attributes: %v", h.Name, err)
		return
	}
	for name, value := range attrs {
		if strings.Contains(name, "=") {
			c.skip("%q: no tar can name its extended attribute %q", h.Name, name)
			continue
		}
		record(h, attributePrefix+name, value)
	}
}

func record(h *tar.Header, key, value string) {
	if h.PAXRecords == nil {
		h.PAXRecords = map[string]string{}
	}
	h.PAXRecords[key] = value
}

// setAttributes gives f, called name, those of its header. As with owners, who is not root keeps what he may.
func (x *extractor) setAttributes(h *tar.Header, name string, f *os.File) {
	if !x.opts.Owners {
		return
	}
	attrs := map[string]string{}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, attributePrefix)
		root := strings.HasPrefix(name, "trusted.") || name == capability
		if ok && archived(name) && (!root || os.Geteuid() == 0) {
			attrs[name] = value
		}
	}
	if err := setAttributes(f, attrs); err != nil {
		x.skip("%q: its extended attributes: %v", name, err)
	}
}

// maxHeld bounds the records of a directory, in bytes: they are held until it is left, and there may be maxDepth such.
const maxHeld = 16 << 10

// dirAttributes returns the records of a directory's header that are needed when it is left.
func (x *extractor) dirAttributes(h *tar.Header) map[string]string {
	if !x.opts.Owners {
		return nil
	}
	size := 0
	for key, value := range h.PAXRecords {
		size += len(key) + len(value)
	}
	if size > maxHeld {
		x.skip("%q: more than %d KiB of extended attributes", h.Name, maxHeld>>10)
		return nil
	}
	return h.PAXRecords
}

// maxAttributes bounds the extended attributes of a file, in bytes: a header must hold them.
const maxAttributes = 256 << 10

// attributes returns the extended attributes of f that want says, and none where there are none.
func attributes(f *os.File, want func(name string) bool) (map[string]string, error) {
	list, err := grown(f, func(fd int, b []byte) (int, error) { return unix.Flistxattr(fd, b) })
	if errors.Is(err, unix.ENOTSUP) || len(list) == 0 && err == nil {
		return nil, nil
	}
	attrs, size := map[string]string{}, 0
	for name := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
		if err != nil || !want(name) {
			continue
		}
		attrs[name], err = grown(f, func(fd int, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
		if size += len(name) + len(attrs[name]); size > maxAttributes {
			err = fmt.Errorf("more than %d KiB of extended attributes", maxAttributes>>10)
		}
	}
	return attrs, err
}

// grown calls get for the length, and then with so much room.
func grown(f *os.File, get func(fd int, b []byte) (int, error)) (string, error) {
	n, err, b := 0, error(unix.EBADF), []byte(nil)
	control(f, func(fd int) {
		if n, err = get(fd, nil); err == nil && n > 0 {
			b = make([]byte, n)
			n, err = get(fd, b)
		}
	})
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// setAttributes gives f attributes. An ACL that it got from its directory goes, unless attrs has one.
func setAttributes(f *os.File, attrs map[string]string) (err error) {
	control(f, func(fd int) {
		for name, value := range attrs {
			if setErr := unix.Fsetxattr(fd, name, []byte(value), 0); setErr != nil {
				err = fmt.Errorf("%s: %w", name, setErr)
			}
		}
		for _, name := range []string{accessACL, defaultACL} {
			if _, ok := attrs[name]; !ok {
				unix.Fremovexattr(fd, name) // most have none
			}
		}
	})
	return err
}
