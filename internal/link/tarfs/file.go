package tarfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"
)

// file writes the regular file full, which is in the last level. It is complete before it gets its name.
//
// A stream of Create's keeps of a file that is there what cp keeps: owner, mode, attributes, and its other names. So if
// it has several names, or is a mount point, or if what replaces it cannot be like it, it is written in place.
func (x *extractor) file(h *tar.Header, full string, old fs.FileInfo) error {
	if old != nil && !old.Mode().IsRegular() { // a symbolic link, which is replaced
		old = nil
	}
	dir, name, tmp := x.here(), path.Base(full), temp()
	f, err := dir.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if old != nil && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)) {
		return x.rewrite(h, name, old, h.Size, func(f *os.File) error {
			_, err := x.receive(h, f)
			return err
		})
	}
	if err != nil {
		return err
	}
	defer f.Close()
	renamed := false
	defer func() {
		if !renamed {
			dir.Remove(tmp)
		}
	}()
	if err := room(f, h.Size); err != nil {
		return err
	}
	m, err := x.receive(h, f)
	if err != nil {
		return err
	}
	if old == nil || !x.inPlace(dir, name, old, f) {
		if err := x.dress(h, f, tmp, old == nil || !x.keeps()); err != nil {
			return err
		}
		if err = dir.Rename(tmp, name); err == nil || old == nil || !errors.Is(err, syscall.EBUSY) { // EBUSY: a mount point
			renamed = err == nil
			return err
		}
		if f, err = dir.Open(tmp); err != nil {
			return err
		}
		defer f.Close()
	}
	return x.rewrite(h, name, old, m.data(), func(to *os.File) error {
		if err := x.fill(m.reader(f), to, m); err != nil {
			return err
		}
		return to.Truncate(m.size)
	})
}

// keeps reports whether a file that is there keeps its owner and mode. Of any other tar it is replaced, as by tar(1).
func (x *extractor) keeps() bool { return x.strict() && !x.opts.Owners }

// inPlace reports whether old must be written in place. If not, and if it keeps what it is, f is made like it.
func (x *extractor) inPlace(dir *os.Root, name string, old fs.FileInfo, f *os.File) bool {
	st := old.Sys().(*syscall.Stat_t)
	if x.strict() && st.Nlink > 1 && !x.rewritten[inode{uint64(st.Dev), st.Ino}] && len(x.rewritten) < maxLinks {
		return true
	}
	return x.keeps() && inherit(f, dir, name, old) != nil
}

// dress gives f, called name, its time and, if own says so, its owner and mode, and closes it.
func (x *extractor) dress(h *tar.Header, f *os.File, name string, own bool) error {
	if own {
		if err := f.Chmod(x.own(h, f.Chown)); err != nil {
			return err
		}
		x.setAttributes(h, h.Name, f)
	}
	if err := x.here().Chtimes(name, clampTime(h.ModTime), clampTime(h.ModTime)); err != nil {
		return err
	}
	return f.Close()
}

// rewrite has write fill old, called name, which is emptied before. need is how many bytes of data it will have.
func (x *extractor) rewrite(h *tar.Header, name string, old fs.FileInfo, need int64, write func(*os.File) error) error {
	f, err := x.here().OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !os.SameFile(old, now) {
		return changed(name)
	}
	st := old.Sys().(*syscall.Stat_t)
	if err := room(f, need-st.Blocks*512); err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	if x.rewritten == nil {
		x.rewritten = map[inode]bool{}
	}
	x.rewritten[inode{uint64(st.Dev), st.Ino}] = true
	if err := write(f); err != nil {
		return err
	}
	err = x.dress(h, f, name, x.opts.Owners)
	if errors.Is(err, fs.ErrPermission) && !x.opts.Owners { // only its owner sets times
		return f.Close()
	}
	return err
}

// inherit gives f what the file that it replaces has: owner, mode and attributes. It fails where that cannot be had.
func inherit(f *os.File, dir *os.Root, name string, old fs.FileInfo) error {
	st := old.Sys().(*syscall.Stat_t)
	if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	mode := old.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	if os.Geteuid() != 0 { // as the kernel does when such a file is written
		mode &= fs.ModePerm
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	was, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer was.Close()
	attrs, err := attributes(was, func(name string) bool { return name != capability }) // it is the old content's
	if err != nil {
		return err
	}
	return setAttributes(f, attrs)
}

// room fails if need bytes do not fit into the file system of f: better before than in the middle.
func room(f *os.File, need int64) error {
	if need <= small {
		return nil
	}
	var st unix.Statfs_t
	err := error(unix.EBADF)
	control(f, func(fd int) { err = unix.Fstatfs(fd, &st) })
	free := st.Bavail
	if os.Geteuid() == 0 {
		free = st.Bfree
	}
	if have := int64(free) * int64(st.Bsize); err == nil && st.Blocks > 0 && need > have {
		return fmt.Errorf("%w: %d MiB needed, %d MiB free", syscall.ENOSPC, (need+1<<20-1)>>20, have>>20)
	}
	return nil
}
