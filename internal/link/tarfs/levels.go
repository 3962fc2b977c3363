package tarfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// level is a directory below the destination that is being filled. Its mode and times are set when it is left: writing
// into it changes its times, and the mode may forbid to write. There are at most maxDepth levels.
type level struct {
	dir  *os.Root
	name string
	meta *tar.Header // to be applied; nil for a directory that was there before
}

// here is the directory that holds an entry whose parents are the levels.
func (x *extractor) here() *os.Root {
	if n := len(x.levels); n > 0 {
		return x.levels[n-1].dir
	}
	return x.root
}

// enter makes parents the levels: leaves those that differ and opens the missing ones.
func (x *extractor) enter(parents []string) error {
	same := 0
	for same < len(parents) && same < len(x.levels) && x.levels[same].name == parents[same] {
		same++
	}
	if err := x.leave(same); err != nil {
		return err
	}
	for i := same; i < len(parents); i++ {
		dir, err := x.step(parents[:i+1])
		if err != nil {
			return err
		}
		x.levels = append(x.levels, level{dir: dir, name: parents[i]})
	}
	return nil
}

// step opens the directory at parts. Its parent is the last level.
func (x *extractor) step(parts []string) (*os.Root, error) {
	name, full := parts[len(parts)-1], path.Join(parts...)
	fi, err := x.here().Lstat(name)
	if errors.Is(err, fs.ErrNotExist) && !x.strict() { // a tar need not list its directories
		if err := x.here().Mkdir(name, 0o755); err != nil {
			return nil, about(full, err)
		}
		fi, err = x.here().Lstat(name)
	}
	if err != nil {
		return nil, about(full, err)
	}
	switch {
	case fi.Mode()&fs.ModeSymlink != 0 && !x.strict():
		// A root filesystem with /bin -> usr/bin must take a tar of bin/tool. From x.root, for a link may lead up from
		// here.
		if fi, err := x.root.Stat(full); err != nil || !fi.IsDir() {
			return nil, fmt.Errorf("%q is a link that leads out of the destination, or to no directory", full)
		}
		dir, err := x.root.OpenRoot(full)
		if err != nil {
			return nil, about(full, err)
		}
		return dir, nil
	case !fi.IsDir():
		return nil, fmt.Errorf("%q is %s, not a directory", full, describe(fi.Mode()))
	}
	dir, err := x.here().OpenRoot(name)
	if err != nil {
		return nil, about(full, err)
	}
	return dir, nil
}

// leave closes the levels from the nth on, the deepest first.
func (x *extractor) leave(n int) error {
	for len(x.levels) > n {
		last := len(x.levels) - 1
		l := x.levels[last]
		x.levels = x.levels[:last]
		err := x.finish(l)
		l.dir.Close()
		if err != nil && fatal(err) {
			return err
		}
		if err != nil {
			x.skip("%q: %v", l.name, cause(err))
		}
	}
	return nil
}

// finish applies what the stream said of a directory.
func (x *extractor) finish(l level) error {
	if l.meta == nil {
		return nil
	}
	f, err := l.dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	mode := x.own(l.meta, f.Chown)
	x.setAttributes(l.meta, l.name, f) // a default ACL would have changed what was written below
	t := clampTime(l.meta.ModTime)
	return errors.Join(l.dir.Chtimes(".", t, t), f.Chmod(mode)) // in this order: the mode may forbid it
}

// own gives a file its owner if asked to, and returns the mode that it should have. Only who may give files away keeps
// the bits that lend the owner's rights.
func (x *extractor) own(h *tar.Header, chown func(uid, gid int) error) fs.FileMode {
	mode := fs.FileMode(h.Mode) & fs.ModePerm
	if !x.opts.Owners || chown(h.Uid, h.Gid) != nil {
		return mode
	}
	for _, bit := range specialBits {
		if h.Mode&bit.tar != 0 {
			mode |= bit.mode
		}
	}
	return mode
}

// mkdir makes the directory at parts, or takes the one that is there, and enters it.
func (x *extractor) mkdir(h *tar.Header, parts []string) error {
	if len(parts) == 0 { // the destination itself
		return nil
	}
	if err := x.enter(parts[:len(parts)-1]); err != nil {
		return err
	}
	name, full := parts[len(parts)-1], path.Join(parts...)
	err := x.here().Mkdir(name, 0o700)
	made := err == nil
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return about(full, err)
	}
	if err := x.enter(parts); err != nil {
		return err
	}
	if made || x.opts.Owners {
		meta := *h
		meta.PAXRecords, meta.Name, meta.Linkname, meta.Uname, meta.Gname = x.dirAttributes(h), "", "", "", ""
		x.levels[len(x.levels)-1].meta = &meta
	}
	return nil
}

// plainDirs reports whether every directory on the way to parts is one, and no link.
func (x *extractor) plainDirs(parts []string) error {
	for i := 1; i < len(parts); i++ {
		fi, err := x.root.Lstat(path.Join(parts[:i]...))
		if err != nil {
			return about(strings.Join(parts[:i], "/"), err)
		}
		if !fi.IsDir() {
			return fmt.Errorf("%q is %s, not a directory", path.Join(parts[:i]...), describe(fi.Mode()))
		}
	}
	return nil
}

func (x *extractor) close() {
	for _, l := range x.levels {
		l.dir.Close()
	}
	if x.root != nil {
		x.root.Close()
	}
	x.out.Close() // of nil, os.File makes an error
}
