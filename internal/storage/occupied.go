package storage

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Occupied is the disk space of a set of files. The zero value is no file.
type Occupied struct {
	own    int64             // bytes that one file alone has, by one name
	parts  int64             // bytes that AddPart has counted as shared
	linked map[inode]*links  // the same of files with several names
	shared map[uint64]*spans // what files have in common with others, by device
}

type inode struct{ dev, ino uint64 }

// links tells of a file with several names.
type links struct {
	own   int64
	names uint64 // in the set
	all   uint64
}

// Occupy looks at the directory dir and all below it, except the directories that skip, which may be nil, is true
// for. It reads no data and follows no link but dir itself. The error names what cannot be looked at, which is left
// out. What is removed meanwhile is no error, dir itself excepted.
func Occupy(ctx context.Context, dir string, skip func(path string) bool) (o Occupied, err error) {
	o = Occupied{linked: map[inode]*links{}, shared: map[uint64]*spans{}}
	var problems []error
	st, err := statfs(dir)
	if err != nil {
		return o, err
	}
	t := uint32(st.Type)
	shares := t != unix.EXT4_SUPER_MAGIC && t != unix.TMPFS_MAGIC
	root := dir + "/." // of a link: where it leads
	err = filepath.WalkDir(root, func(p string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if skip != nil && entry != nil && entry.IsDir() && skip(p) {
			return fs.SkipDir
		}
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if err == nil {
			err = o.look(p, info, shares)
		}
		if err != nil && (p == root || !errors.Is(err, fs.ErrNotExist)) {
			problems = append(problems, err)
		}
		return nil
	})
	return o, errors.Join(append(problems, err)...)
}

// look adds the file p. shares is that its file system has reflinks.
func (o *Occupied) look(p string, info fs.FileInfo, shares bool) error {
	st := info.Sys().(*syscall.Stat_t)
	own := diskBytes(info)
	if !info.Mode().IsRegular() {
		o.own += own
		return nil
	}
	id := inode{uint64(st.Dev), st.Ino}
	if l := o.linked[id]; l != nil {
		l.names++
		return nil
	}
	var err error
	if own > 0 && shares {
		var shared []span
		shared, err = sharedSpans(p)
		own = max(0, own-length(shared))
		o.share(id.dev, shared)
	}
	if st.Nlink > 1 {
		o.linked[id] = &links{own, 1, uint64(st.Nlink)}
	} else {
		o.own += own
	}
	return err
}

// Add puts the files of p into o. A path must not be in both.
func (o *Occupied) Add(p Occupied) {
	if o.linked == nil {
		o.linked, o.shared = map[inode]*links{}, map[uint64]*spans{}
	}
	o.own, o.parts = o.own+p.own, o.parts+p.parts
	for id, l := range p.linked {
		if mine := o.linked[id]; mine != nil {
			mine.names += l.names
		} else {
			o.linked[id] = new(*l)
		}
	}
	for dev, s := range p.shared {
		o.share(dev, s.list)
	}
}

// AddPart counts a part of a file that is not in the set: bytes that the set alone needs of it, and those that others need
// too. Of two sets with parts that they share, the sum counts these twice.
func (o *Occupied) AddPart(own, shared int64) { o.own, o.parts = o.own+own, o.parts+shared }

// Discount subtracts bytes that are counted elsewhere from o's own.
func (o *Occupied) Discount(bytes int64) { o.own = max(0, o.own-bytes) }

func (o *Occupied) share(dev uint64, list []span) {
	if o.shared[dev] == nil {
		o.shared[dev] = &spans{}
	}
	o.shared[dev].add(list)
}

// Own is the bytes that removing the files would free. Blocks that only files of the set share are not in it: a file
// system tells that a block is shared, not with whom.
func (o *Occupied) Own() int64 {
	own := o.own
	for _, l := range o.linked {
		if l.names >= l.all {
			own += l.own
		}
	}
	return own
}

// Shared is the bytes that others have too, by reflink or by a hard link outside the set, each counted once.
func (o *Occupied) Shared() int64 {
	shared := o.parts
	for _, l := range o.linked {
		if l.names < l.all {
			shared += l.own
		}
	}
	for _, s := range o.shared {
		shared += s.bytes()
	}
	return shared
}

// Total is all that the files take, each block counted once.
func (o *Occupied) Total() int64 { return o.Own() + o.Shared() }

// span is a run of bytes on a device.
type span struct{ from, to uint64 }

// spans are runs of bytes that may overlap.
type spans struct {
	list []span
	tidy int // the length of list after the last merge
}

// add puts list into s, whose length stays in proportion to what it covers.
func (s *spans) add(list []span) {
	s.list = append(s.list, list...)
	if len(s.list) > 2*s.tidy+1024 {
		s.merge()
	}
}

// merge sorts s and joins what overlaps or touches.
func (s *spans) merge() {
	slices.SortFunc(s.list, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	out := s.list[:0]
	for _, x := range s.list {
		if last := len(out) - 1; last >= 0 && x.from <= out[last].to {
			out[last].to = max(out[last].to, x.to)
		} else {
			out = append(out, x)
		}
	}
	s.list, s.tidy = out, len(out)
}

// bytes is how much s covers.
func (s *spans) bytes() int64 {
	s.merge()
	return length(s.list)
}

func length(list []span) (n int64) {
	for _, x := range list {
		n += int64(x.to - x.from)
	}
	return n
}

// sharedSpans returns the blocks of the regular file path that other files have too. None where that cannot be told.
func sharedSpans(path string) (shared []span, err error) {
	f, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for e, err := range extents(f, 0) {
		if err == nil && e.flags&extentShared != 0 {
			shared = append(shared, span{e.physical, e.physical + e.length})
		}
	}
	return shared, nil
}
