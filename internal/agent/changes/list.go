package changes

import (
	"bytes"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/link/tree"
)

// listTime bounds a list: somebody may make files as fast as it finds them.
const listTime = 5 * time.Minute

// List writes into w what the overlay root has changed of base, its lower directory. upper is its upper one; all are
// descriptors. Somebody may change root meanwhile: what vanishes is not there.
func List(w io.Writer, upper, root, base int) error {
	early := &held{w: w}
	l, err := list(early, root, base, func(l *lister) error { return l.changed(upper, root, base, "", 1) })
	if err != nil {
		return err
	}
	if l.otherNames() && !early.released { // a change shows by all names of a file, and the upper directory has not all
		_, err = list(w, root, base, func(l *lister) error { return l.all(root, base, "", 1) })
		return err
	}
	return early.release()
}

// held is a writer that may take back what was written, while that is not much.
type held struct {
	w        io.Writer
	buf      bytes.Buffer
	released bool
}

func (h *held) Write(b []byte) (int, error) {
	if h.released {
		return h.w.Write(b)
	}
	h.buf.Write(b)
	if h.buf.Len() > 16<<20 {
		return len(b), h.release()
	}
	return len(b), nil
}

func (h *held) release() error {
	if h.released {
		return nil
	}
	h.released = true
	_, err := h.w.Write(h.buf.Bytes())
	return err
}

// ListAll writes into w all of root.
func ListAll(w io.Writer, root int) error {
	_, err := list(w, root, none, func(l *lister) error { return l.all(root, none, "", 1) })
	return err
}

// none is the descriptor of a directory that is not there.
const none = -1

type lister struct {
	*tree.Writer
	n     int
	end   time.Time
	links map[uint64]uint32 // by inode, how many more names a file has than were listed
}

func list(w io.Writer, root, base int, content func(*lister) error) (*lister, error) {
	l := &lister{Writer: tree.NewWriter(w), end: time.Now().Add(listTime), links: map[uint64]uint32{}}
	now, err := statAt(root, "")
	if err != nil {
		return nil, err
	}
	was, _ := statAt(base, "")
	if err := l.Write(tree.Entry{Now: now, Base: was}); err != nil {
		return nil, err
	}
	if err := content(l); err != nil && err != errFull {
		return nil, err
	}
	return l, l.Close()
}

// otherNames reports whether a file that was listed has a name that was not.
func (l *lister) otherNames() bool {
	for _, left := range l.links {
		if left > 0 {
			return true
		}
	}
	return false
}

// errFull ends a walk that has taken all that it may.
var errFull = errors.New("too much")

// add writes what is called at. Of what is nowhere nothing is written.
func (l *lister) add(at string, now, base *tree.File) error {
	if now == nil && base == nil {
		return nil
	}
	if l.n++; l.n >= tree.MaxEntries || l.n%1024 == 0 && time.Now().After(l.end) {
		l.Cut()
		return errFull
	}
	if now != nil && now.Links > 1 && now.Mode&unix.S_IFMT != unix.S_IFDIR {
		if left, known := l.links[now.Inode]; !known {
			l.links[now.Inode] = now.Links - 1
		} else if left > 0 {
			l.links[now.Inode] = left - 1
		}
	}
	return l.Write(tree.Entry{Path: at, Now: now, Base: base})
}

// changed lists what upper, a directory of the upper one, has changed in dir, the same of the overlay, and base, the same
// of the lower one.
func (l *lister) changed(upper, dir, base int, name string, depth int) error {
	return l.each(name, depth, []int{upper}, func(file, at string) error {
		now, _ := statAt(dir, file)
		was, _ := statAt(base, file)
		sub, below := into(dir, file, now), into(base, file, was)
		over := into(upper, file, &tree.File{Mode: unix.S_IFDIR})
		defer shut(sub, below, over)
		if ofKernel(at) || was == nil && sub != none && made(sub, sub, at) {
			return nil
		}
		if err := l.add(at, now, was); err != nil {
			return err
		}
		if over == none || replaces(over) { // it was removed, or took another's place: what was there is not shown any more
			return l.all(sub, below, at, depth+1)
		}
		return l.changed(over, sub, below, at, depth+1)
	})
}

// all lists what is in dir, and in base.
func (l *lister) all(dir, base int, name string, depth int) error {
	return l.each(name, depth, []int{dir, base}, func(file, at string) error {
		if ofKernel(at) {
			return nil
		}
		now, _ := statAt(dir, file)
		was, _ := statAt(base, file)
		sub, below := into(dir, file, now), into(base, file, was)
		defer shut(sub, below)
		if was == nil && sub != none && made(sub, sub, at) {
			return nil
		}
		if err := l.add(at, now, was); err != nil {
			return err
		}
		return l.all(sub, below, at, depth+1)
	})
}

// each calls do for the names in all of dirs, in order. What cannot be read is left out.
func (l *lister) each(name string, depth int, dirs []int, do func(file, at string) error) error {
	var files []string
	for _, dir := range dirs {
		if dir == none {
			continue
		}
		err := each(dir, name, func(file string) error { files = append(files, file); return nil })
		if err != nil {
			l.Cut()
		}
	}
	if len(dirs) > 1 {
		slices.Sort(files)
		files = slices.Compact(files)
	}
	for _, file := range files {
		at := path.Join(name, file)
		if depth >= maxDepth || len(at) > tree.MaxPath || strings.ContainsRune(file, 0) {
			l.Cut()
			continue
		}
		if err := do(file, at); err != nil {
			return err
		}
	}
	return nil
}

// into opens the directory file of dir. None, if f is not one, or it is gone.
func into(dir int, file string, f *tree.File) int {
	if dir == none || f == nil || f.Mode&unix.S_IFMT != unix.S_IFDIR {
		return none
	}
	fd, err := open(dir, file, unix.O_DIRECTORY)
	if err != nil {
		return none
	}
	return fd
}

func shut(dirs ...int) {
	for _, dir := range dirs {
		if dir != none {
			unix.Close(dir)
		}
	}
}

// statAt describes file in dir, or with "" dir itself. Nil for what is not there.
func statAt(dir int, file string) (*tree.File, error) {
	if dir == none {
		return nil, unix.ENOENT
	}
	flags := unix.AT_SYMLINK_NOFOLLOW
	if file == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	if err := unix.Statx(dir, file, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return nil, err
	}
	ns := func(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }
	f := &tree.File{Mode: uint32(st.Mode), UID: st.Uid, GID: st.Gid, Links: st.Nlink, Size: int64(st.Size), Inode: st.Ino, Mtime: ns(st.Mtime), Ctime: ns(st.Ctime)}
	if st.Mask&unix.STATX_BTIME != 0 {
		f.Birth = ns(st.Btime)
	}
	switch f.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		f.Device = unix.Mkdev(st.Rdev_major, st.Rdev_minor)
	case unix.S_IFLNK:
		target := make([]byte, unix.PathMax)
		if n, err := unix.Readlinkat(dir, file, target); err == nil {
			f.Target = string(target[:n])
		}
	}
	return f, nil
}
