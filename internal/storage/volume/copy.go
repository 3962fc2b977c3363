package volume

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
)

type inode struct{ dev, ino uint64 }

func inodeOf(st *syscall.Stat_t) inode { return inode{st.Dev, st.Ino} }

// entrySize is what a file costs beside its data, in bytes, roughly.
const entrySize = 4096

// treeSize returns how many bytes a copy of the trees takes that shares no blocks. A file with several names counts
// once.
func treeSize(ctx context.Context, trees ...string) (size int64, err error) {
	seen := map[inode]bool{}
	for _, tree := range trees {
		err := walk(ctx, tree, func(path string, d fs.DirEntry, st *syscall.Stat_t) error {
			size += entrySize
			if seen[inodeOf(st)] || !d.Type().IsRegular() {
				return nil
			}
			seen[inodeOf(st)] = true
			data, err := storage.DataBytes(ctx, path)
			size += data
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return size, nil
}

// walk calls visit for tree and everything in it, parents first. Something mounted in it is an error. A tree that is
// not there, or has no name, is an empty one.
func walk(ctx context.Context, tree string, visit func(path string, d fs.DirEntry, st *syscall.Stat_t) error) error {
	var dev uint64
	return filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == tree {
			return nil
		}
		var info fs.FileInfo
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			info, err = d.Info()
		}
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if path == tree {
			dev = st.Dev
		} else if st.Dev != dev {
			return errs.New(errs.ErrState, "%s is of another file system", path)
		}
		return visit(path, d, st)
	})
}

// copier copies trees. Names of one file stay names of one file, whichever tree they are in.
type copier struct {
	ctx   context.Context
	names map[inode]string // copies of files with several names
}

// copy copies the tree from to to, which does not exist or is an empty directory: contents with their holes, owners,
// modes and times. It leaves out the entry leave of from, and sockets: nobody listens on them.
func (c *copier) copy(to, from, leave string) error {
	type dir struct {
		path string
		st   *syscall.Stat_t
	}
	var dirs []dir
	err := walk(c.ctx, from, func(path string, d fs.DirEntry, st *syscall.Stat_t) error {
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if rel == leave {
			return fs.SkipDir
		}
		switch d.Type() {
		case fs.ModeDir:
			if err := os.Mkdir(target, 0o700); err != nil && !(rel == "." && errors.Is(err, fs.ErrExist)) {
				return err
			}
			dirs = append(dirs, dir{target, st})
			return nil
		case fs.ModeSocket:
			return nil
		}
		if first, ok := c.names[inodeOf(st)]; ok {
			return os.Link(first, target)
		}
		if err := c.copyFile(target, path, d.Type()); err != nil {
			return err
		}
		if st.Nlink > 1 {
			c.names[inodeOf(st)] = target
		}
		return setAttributes(target, st)
	})
	if err != nil {
		return err
	}
	for i := len(dirs) - 1; i >= 0; i-- { // a read-only directory takes no more files, and each changes its time
		if err := setAttributes(dirs[i].path, dirs[i].st); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) copyFile(to, from string, kind fs.FileMode) error {
	switch kind {
	case 0:
		_, err := storage.Clone(c.ctx, to, from)
		return err
	case fs.ModeSymlink:
		text, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(text, to)
	case fs.ModeNamedPipe:
		return unix.Mkfifo(to, 0o600)
	}
	return errs.New(errs.ErrState, "%s is neither file, directory, link nor pipe", from)
}

// setAttributes gives path the owner, mode and times of st.
func setAttributes(path string, st *syscall.Stat_t) error {
	if err := os.Lchown(path, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(path, st.Mode&0o7777); err != nil {
			return &fs.PathError{Op: "chmod", Path: path, Err: err}
		}
	}
	times := []unix.Timespec{{Sec: st.Atim.Sec, Nsec: st.Atim.Nsec}, {Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}
