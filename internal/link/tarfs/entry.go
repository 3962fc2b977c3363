package tarfs

import (
	"archive/tar"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// entry writes one entry of the stream.
func (x *extractor) entry(h *tar.Header, first bool) error {
	parts, err := x.split(h.Name)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		return x.mkdir(h, parts)
	}
	if len(parts) == 0 {
		return fmt.Errorf("%w: the name %q of a file", x.bad(), h.Name)
	}
	if err := x.enter(parts[:len(parts)-1]); err != nil {
		return err
	}
	full := path.Join(parts...)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return x.replace(full, parts, func(tmp string) error { return x.file(h, tmp) })
	case tar.TypeSymlink:
		return x.replace(full, parts, func(tmp string) error { return x.symlink(h, tmp) })
	case tar.TypeLink:
		target, err := x.split(h.Linkname)
		if err != nil {
			return err
		}
		if first || len(target) == 0 {
			return fmt.Errorf("%w: a link to %q", x.bad(), h.Linkname)
		}
		return x.replace(full, parts, func(tmp string) error { return x.link(target, path.Join(path.Dir(full), tmp)) })
	}
	return fmt.Errorf("%q is of a type that is not copied", full)
}

// replace has something made under a temporary name in the last level, and then gives it its own name, the last of
// parts.
func (x *extractor) replace(full string, parts []string, create func(tmp string) error) (err error) {
	dir, name := x.here(), parts[len(parts)-1]
	if old, err := dir.Lstat(name); err == nil && !old.Mode().IsRegular() && old.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("%q is %s: it is not replaced", full, describe(old.Mode()))
	}
	var random [8]byte
	rand.Read(random[:]) // never fails: it ends the program instead (crypto/rand)
	tmp := tempPrefix + hex.EncodeToString(random[:])
	defer func() {
		if err != nil {
			dir.Remove(tmp)
		}
	}()
	if err := create(tmp); err != nil {
		if _, ok := errors.AsType[streamError](err); ok {
			return err
		}
		return about(full, err)
	}
	if err := dir.Rename(tmp, name); err != nil {
		return about(full, err)
	}
	dir.Remove(tmp) // rename(2) of one name of a file onto another does nothing
	return nil
}

func (x *extractor) file(h *tar.Header, tmp string) error {
	f, err := x.here().OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := x.receive(h, f); err != nil {
		return err
	}
	if err := f.Chmod(x.own(h, f.Chown)); err != nil {
		return err
	}
	if err := x.here().Chtimes(tmp, clampTime(h.ModTime), clampTime(h.ModTime)); err != nil {
		return err
	}
	return f.Close()
}

func (x *extractor) symlink(h *tar.Header, tmp string) error {
	dir := x.here()
	if err := dir.Symlink(h.Linkname, tmp); err != nil {
		return err
	}
	if x.opts.Owners {
		dir.Lchown(tmp, h.Uid, h.Gid) // as for files: who may not give it away keeps it
	}
	t := clampTime(h.ModTime)
	if t.IsZero() {
		return nil
	}
	return lutimes(dir, tmp, t)
}

// lutimes sets the times of a symbolic link, which os.Root has no method for. name has one element.
func lutimes(dir *os.Root, name string, t time.Time) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	ts := unix.NsecToTimespec(t.UnixNano())
	return unix.UtimesNanoAt(int(f.Fd()), name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// link makes tmp, a path below the root, another name of target.
func (x *extractor) link(target []string, tmp string) error {
	if x.strict() {
		if err := x.plainDirs(target); err != nil {
			return err
		}
	}
	old := path.Join(target...)
	fi, err := x.root.Lstat(old)
	if err != nil {
		return fmt.Errorf("its other name %q: %w", old, cause(err))
	}
	if !fi.Mode().IsRegular() && fi.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("its other name %q is %s", old, describe(fi.Mode()))
	}
	return x.root.Link(old, tmp)
}
