package tarfs

import (
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
