// Package changes writes what a guest has changed of its image as a layer of an OCI image (the specification's
// layer.md). overlayfs keeps that in its upper directory, in words of its own: which paths changed is read there, and
// what they are now in the overlay itself, which knows what its words mean.
package changes

import (
	"archive/tar"
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDepth is how many directories may be in one another: each costs two descriptors. Package flatten takes no more.
const maxDepth = 1000

// Write writes into w, as a layer over its lower directory, what the overlay root has changed. upper and root are
// descriptors of the two directories. Nothing may be mounted in root, and nobody may change it meanwhile. What no layer
// can say is left out, and warn is told.
func Write(w io.Writer, upper, root int, warn func(string)) error {
	return write(w, root, warn, func(c *writer) error { return c.changed(upper, root, "", 1) })
}

// WriteAll is Write for all of root, which is no overlay.
func WriteAll(w io.Writer, root int, warn func(string)) error {
	return write(w, root, warn, func(c *writer) error { return c.all(root, "", 1) })
}

func write(w io.Writer, root int, warn func(string), content func(*writer) error) error {
	b := bufio.NewWriterSize(w, 256<<10)
	c := &writer{tar: tar.NewWriter(b), warn: warn, files: map[file]*names{}, buf: make([]byte, 256<<10), authorities: readAuthorities(root)}
	err := c.directory(root, "")
	if err == nil {
		err = content(c)
	}
	if err == nil {
		err = c.otherNames(root)
	}
	if err == nil {
		err = c.tar.Close()
	}
	if err == nil {
		err = b.Flush()
	}
	return err
}

type writer struct {
	tar   *tar.Writer
	warn  func(string)
	files map[file]*names // those with several names
	buf   []byte
	// authorities are those that noid has added, and the image is not to trust, each as PEM.
	authorities [][]byte
}

// changed writes what upper, a directory of the upper one, has changed in dir, the same of the overlay.
func (c *writer) changed(upper, dir int, name string, depth int) error {
	return each(upper, name, func(base string) error {
		at := path.Join(name, base)
		if left(at) {
			return nil
		}
		var st unix.Stat_t
		err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case err == unix.ENOENT: // the upper directory says that it is gone
			return c.marker(name, whiteoutPrefix+base)
		case err != nil:
			return about(at, err)
		case st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return c.file(dir, base, at, &st)
		}
		return c.within(dir, base, at, depth, func(sub int) error {
			over, err := open(upper, base, unix.O_DIRECTORY)
			if err != nil {
				return about(at, err)
			}
			defer unix.Close(over)
			if made(over, sub, at) {
				return nil
			}
			if err := c.directory(sub, at); err != nil {
				return err
			}
			// Below a directory that was renamed, or that has taken another's place, all is new to the layers below.
			if !replaces(over) {
				return c.changed(over, sub, at, depth+1)
			}
			if err := c.marker(at, opaqueName); err != nil {
				return err
			}
			return c.all(sub, at, depth+1)
		})
	})
}

// all writes what is in dir. A file that tells which VM it is becomes an empty one: a missing one would make systemd think
// that it never ran.
func (c *writer) all(dir int, name string, depth int) error {
	return each(dir, name, func(base string) error {
		at := path.Join(name, base)
		if ofKernel(at) || slices.Contains(trustFiles, at) {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return about(at, err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG && ofVM(at) {
			h := header(at, &st)
			h.Typeflag = tar.TypeReg
			return c.tar.WriteHeader(h)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return c.file(dir, base, at, &st)
		}
		return c.within(dir, base, at, depth, func(sub int) error {
			if err := c.directory(sub, at); err != nil {
				return err
			}
			return c.all(sub, at, depth+1)
		})
	})
}

// within calls do with the directory base of dir.
func (c *writer) within(dir int, base, at string, depth int, do func(sub int) error) error {
	if depth == maxDepth {
		return fmt.Errorf("%q is below %d directories", at, maxDepth)
	}
	sub, err := open(dir, base, unix.O_DIRECTORY)
	if err != nil {
		return about(at, err)
	}
	defer unix.Close(sub)
	return do(sub)
}

// replaces reads overlayfs' attributes of a directory of the upper one: the layers below have nothing in it.
func replaces(upper int) bool {
	buf := make([]byte, 1)
	if n, err := unix.Fgetxattr(upper, "trusted.overlay.opaque", buf); err == nil && n == 1 && buf[0] == 'y' {
		return true
	}
	n, err := unix.Fgetxattr(upper, "trusted.overlay.redirect", nil)
	return err == nil && n > 0
}

// each calls do for each name in a directory, in order.
func each(dir int, name string, do func(base string) error) error {
	fd, err := open(dir, ".", unix.O_DIRECTORY)
	if err != nil {
		return about(name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	list, err := f.Readdirnames(-1)
	f.Close()
	if err != nil {
		return err
	}
	slices.Sort(list)
	for _, base := range list {
		if err := do(base); err != nil {
			return err
		}
	}
	return nil
}

func open(dir int, base string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, base, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func about(name string, err error) error { return fmt.Errorf("%q: %w", "/"+name, err) }

// What is not the image's: noid writes these files for each VM, and the kernel shows itself in these directories.
var (
	identity   = []string{"etc/hostname", "etc/machine-id", "var/lib/dbus/machine-id", "etc/resolv.conf"}
	kernelDirs = []string{"dev/", "proc/", "sys/"}
)

func left(name string) bool {
	return ofVM(name) || ofKernel(name) || slices.Contains(trustFiles, name)
}

func ofVM(name string) bool { return slices.Contains(identity, name) }

func ofKernel(name string) bool {
	return name == "lost+found" || slices.ContainsFunc(kernelDirs, func(dir string) bool { return strings.HasPrefix(name, dir) })
}

// dataDirs are those that noid-init makes, to bind directories of the VM's own disk there.
var dataDirs = []string{"var/lib/docker", "var/lib/containerd", "var/lib/containers", "var/lib/kubelet"}

// made reports whether a directory is one that noid-init has made.
func made(upper, dir int, name string) bool {
	var st unix.Stat_t
	if !slices.Contains(dataDirs, name) || unix.Fstat(upper, &st) != nil || st.Mode&0o7777 != 0o711 {
		return false
	}
	empty := true
	err := each(dir, name, func(string) error { empty = false; return nil })
	return err == nil && empty
}
