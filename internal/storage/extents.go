package storage

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of linux/fiemap.h and linux/fs.h: x/sys/unix has none of it.
const (
	fsIocFiemap = 0xc020660b
	fiemapSync  = 0x1 // FIEMAP_FLAG_SYNC: write back first
	extentLast  = 0x1 // FIEMAP_EXTENT_LAST
	// FIEMAP_EXTENT_UNKNOWN, _DELALLOC, _ENCODED, _DATA_ENCRYPTED, _NOT_ALIGNED, _DATA_INLINE, _DATA_TAIL, _MERGED: the number
	// of the block is none, or not all there is to say.
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

// extentMap is struct fiemap with room for some extents, 14 KiB.
type extentMap struct {
	start, length             uint64
	flags, mapped, count, pad uint32
	extents                   [256]extent
}

// dataMap finds the data of a file with reserved blocks. SEEK_DATA is no good there: it calls data whatever is in the page
// cache, and the kernel reads ahead of each page that a guest touches, and further ahead when the file is copied, until all
// of it is data. What is on the disk is known exactly.
type dataMap struct {
	f    *os.File
	m    extentMap
	next uint32 // the first extent of m not looked at
}

// newDataMap writes f's dirty pages back, since only then the disk tells, and returns the map of f. It is nil if f has no
// reserved blocks or its file system has no such map: SEEK_DATA is right then.
func newDataMap(f *os.File, size int64) *dataMap {
	d := &dataMap{f: f}
	if has, err := d.unwritten(size); err != nil || !has || d.fill(0, fiemapSync) != nil {
		return nil
	}
	return d
}

// dataOf returns what finds the next run of data of f at or after an offset, as dataAt does; the offsets must not become
// smaller from call to call. Where f has reserved blocks it writes f back first.
func dataOf(f *os.File, size int64) func(off int64) (start, end int64, err error) {
	if reserved := newDataMap(f, size); reserved != nil {
		return func(off int64) (start, end int64, err error) { return reserved.at(off, size) }
	}
	return func(off int64) (start, end int64, err error) {
		start, end = dataAt(f, off, size)
		return start, end, nil
	}
}

// unwritten reports whether f has reserved blocks.
func (d *dataMap) unwritten(size int64) (bool, error) {
	for from := int64(0); from < size; {
		if err := d.fill(from, 0); err != nil {
			return false, err
		}
		for _, e := range d.m.extents[:d.m.mapped] {
			if e.flags&extentUnwritten != 0 {
				return true, nil
			}
			from = int64(e.logical + e.length)
		}
		if d.m.mapped < d.m.count {
			return false, nil
		}
	}
	return false, nil
}

// extents counts the extents of f, its holes not.
func extents(f *os.File) (int, error) {
	m := extentMap{length: ^uint64(0)}
	err := retry(func() error { return fiemap(f, &m) }) // with room for none the kernel counts
	return int(m.mapped), err
}

func fiemap(f *os.File, m *extentMap) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocFiemap, uintptr(unsafe.Pointer(m))); errno != 0 {
		return errno
	}
	return nil
}

func (d *dataMap) fill(from int64, flags uint32) error {
	d.m.start, d.m.length, d.m.flags, d.m.mapped, d.m.count = uint64(from), ^uint64(0)-uint64(from), flags, 0, uint32(len(d.m.extents))
	d.next = 0
	return retry(func() error { return fiemap(d.f, &d.m) })
}

// at returns the next run of data at or after off, as dataAt does. off must not become smaller from call to call.
func (d *dataMap) at(off, size int64) (start, end int64, err error) {
	for {
		if d.next == d.m.mapped {
			if d.m.mapped < d.m.count { // fewer than there was room for
				return size, size, nil
			}
			last := d.m.extents[d.m.mapped-1]
			if err := d.fill(int64(last.logical+last.length), 0); err != nil {
				return 0, 0, err
			}
			continue
		}
		e := d.m.extents[d.next]
		start, end = max(int64(e.logical), off), min(int64(e.logical+e.length), size)
		if e.flags&extentUnwritten == 0 && start < end {
			return start, end, nil
		}
		if int64(e.logical) >= size || e.flags&extentLast != 0 {
			return size, size, nil
		}
		d.next++
	}
}
