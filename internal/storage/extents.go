package storage

import (
	"context"
	"iter"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of linux/fiemap.h and linux/fs.h: x/sys/unix has none of it.
const (
	fsIocFiemap = 0xc020660b
	fiemapSync  = 0x1 // FIEMAP_FLAG_SYNC: write back first
	extentLast  = 0x1 // FIEMAP_EXTENT_LAST
	// FIEMAP_EXTENT_UNKNOWN, _DELALLOC, _ENCODED, _DATA_ENCRYPTED, _NOT_ALIGNED, _DATA_INLINE, _DATA_TAIL, _MERGED: the
	// number of the block is none, or not all there is to say.
	extentOdd       = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400 | 0x1000
	extentUnwritten = 0x800  // FIEMAP_EXTENT_UNWRITTEN: blocks that were reserved and hold nothing
	extentShared    = 0x2000 // FIEMAP_EXTENT_SHARED: other files have them too
)

// extent is struct fiemap_extent.
type extent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

func (e extent) end() int64 { return int64(e.logical + e.length) }

// extentMap is struct fiemap with room for some extents, 14 KiB.
type extentMap struct {
	start, length             uint64
	flags, mapped, count, pad uint32
	extents                   [256]extent
}

func fiemap(f *os.File, m *extentMap) error {
	return retry(func() error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocFiemap, uintptr(unsafe.Pointer(m))); errno != 0 {
			return errno
		}
		return nil
	})
}

// extents yields the extents of f in order, its holes not. flags may be fiemapSync. An error, also that of a file
// system without such a map, comes last.
func extents(f *os.File, flags uint32) iter.Seq2[extent, error] {
	return func(yield func(extent, error) bool) {
		m := &extentMap{flags: flags, count: 256}
		for {
			m.length, m.mapped = ^uint64(0)-m.start, 0
			if err := fiemap(f, m); err != nil {
				yield(extent{}, err)
				return
			}
			for _, e := range m.extents[:m.mapped] {
				if !yield(e, nil) || e.flags&extentLast != 0 {
					return
				}
				m.start = uint64(e.end())
			}
			if m.mapped < m.count { // fewer than there was room for
				return
			}
			m.flags = 0
		}
	}
}

// countExtents counts the extents of f.
func countExtents(f *os.File) (int, error) {
	m := extentMap{length: ^uint64(0)}
	err := fiemap(f, &m) // with room for none the kernel counts
	return int(m.mapped), err
}

// hasReserved reports whether the first size bytes of f have blocks that were reserved and never written.
func hasReserved(f *os.File, size int64) bool {
	for e, err := range extents(f, 0) {
		if err != nil || int64(e.logical) >= size {
			return false
		}
		if e.flags&extentUnwritten != 0 {
			return true
		}
	}
	return false
}

// eachRun calls do for the runs of data of the first size bytes of f, in order. Where f has reserved blocks it writes f
// back first, and asks FIEMAP. SEEK_DATA calls data whatever is in the page cache, and the kernel reads ahead until all
// of it is.
func eachRun(ctx context.Context, f *os.File, size int64, do func(start, end int64) error) error {
	if !hasReserved(f, size) {
		for start, end := range dataRuns(f, size) {
			if err := do(start, end); err != nil {
				return err
			}
		}
		return nil
	}
	if err := writePages(ctx, f); err != nil {
		return err
	}
	for e, err := range extents(f, fiemapSync) {
		if err != nil {
			return err
		}
		start, end := int64(e.logical), min(e.end(), size)
		if e.flags&extentUnwritten != 0 || start >= end {
			continue
		}
		if err := do(start, end); err != nil {
			return err
		}
	}
	return nil
}
