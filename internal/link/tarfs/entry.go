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
		old, err := x.existing(full)
		if err != nil {
			return err
		}
		return named(full, x.file(h, full, old))
	case tar.TypeSymlink:
		return x.replace(full, func(tmp string) error { return x.symlink(h, tmp) })
	case tar.TypeLink:
		target, err := x.split(h.Linkname)
		if err != nil {
			return err
		}
		if first || len(target) == 0 {
			return fmt.Errorf("%w: a link to %q", x.bad(), h.Linkname)
		}
		return x.replace(full, func(tmp string) error { return x.link(target, path.Join(path.Dir(full), tmp)) })
	}
	return fmt.Errorf("%q is of a type that is not copied", full)
}

// existing returns what is called full already, or nil. It refuses what no entry replaces.
func (x *extractor) existing(full string) (fs.FileInfo, error) {
	old, err := x.here().Lstat(path.Base(full))
	if err == nil && !old.Mode().IsRegular() && old.Mode()&fs.ModeSymlink == 0 {
		return nil, fmt.Errorf("%q is %s: it is not replaced", full, describe(old.Mode()))
	}
	return old, nil
}

// temp returns a name for what is not complete yet.
func temp() string {
	var random [8]byte
	rand.Read(random[:]) // never fails: it ends the program instead (crypto/rand)
	return tempPrefix + hex.EncodeToString(random[:])
}

// replace has a link made under a temporary name in the last level, and then gives it its own name.
func (x *extractor) replace(full string, create func(tmp string) error) error {
	if _, err := x.existing(full); err != nil {
		return err
	}
	dir, tmp := x.here(), temp()
	err := create(tmp)
	if err == nil {
		err = dir.Rename(tmp, path.Base(full))
	}
	dir.Remove(tmp) // also after rename(2) of one name of a file onto another, which does nothing
	return named(full, err)
}

// named says of what name err is, unless the stream cannot go on.
func named(full string, err error) error {
	if _, ok := errors.AsType[streamError](err); ok || err == nil {
		return err
	}
	return about(full, err)
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
