package base

import (
	"fmt"
	"os"
)

const (
	blockSize      = 4096
	blocksPerGroup = 8 * blockSize // what a block of bitmap counts
	maxBlocks      = 1 << 32
)

// extent is a run of blocks of a file.
type extent struct{ logical, physical, length uint32 }

// disk writes blocks one after the other. An error stays: close returns it.
type disk struct {
	f     *os.File
	buf   []byte // what is not written yet
	start int64  // the block at which buf begins
	free  []extent
	err   error
}

func newDisk(f *os.File, first int64) *disk {
	return &disk{f: f, buf: make([]byte, 0, 1<<20), start: first}
}

// next is the block that follows what was written.
func (d *disk) next() int64 { return d.start + int64(len(d.buf)/blockSize) }

// append writes data, filled up with zeros to whole blocks, and returns its first block. data is at most 64 KiB.
func (d *disk) append(data []byte) (block uint32) {
	if len(d.buf)+len(data) > cap(d.buf)-blockSize {
		d.flush()
	}
	at := d.place(int64(blocks(len(data))))
	d.buf = append(d.buf, data...)
	if odd := len(d.buf) % blockSize; odd > 0 {
		d.buf = append(d.buf, zeros[odd:]...)
	}
	return uint32(at)
}

// place returns the next place for n blocks, which the caller writes next.
func (d *disk) place(n int64) int64 {
	next := d.next()
	at := placeFor(next, n)
	if at+n >= maxBlocks {
		d.fail(fmt.Errorf("the image does not fit a file system of %d TiB", int64(maxBlocks)*blockSize>>40))
	}
	if at != next {
		d.flush()
		d.start = at
		if end := ceil(next, blocksPerGroup) * blocksPerGroup; end > next {
			d.free = append(d.free, extent{physical: uint32(next), length: uint32(end - next)})
		}
	}
	return at
}

// placeFor returns where n blocks, fewer than a group has, can be from next on: not where a group begins with a copy of
// the superblock and the group descriptors.
func placeFor(next, n int64) int64 {
	group := ceil(next, blocksPerGroup)
	if start := group * blocksPerGroup; hasCopy(group) && next+n > start {
		return start + firstData
	}
	return next
}

// hasCopy tells whether a group begins with a copy of the superblock: those of feature sparse_super do.
func hasCopy(group int64) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		power := base
		for power < group {
			power *= base
		}
		if power == group {
			return true
		}
	}
	return false
}

// skip leaves n blocks as they are.
func (d *disk) skip(n int64) {
	d.flush()
	d.start += n
}

func (d *disk) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *disk) flush() error {
	if d.err == nil {
		d.writeAt(d.buf, d.start*blockSize)
	}
	d.start = d.next()
	d.buf = d.buf[:0]
	return d.err
}

func (d *disk) writeAt(data []byte, offset int64) {
	if _, err := d.f.WriteAt(data, offset); err != nil {
		d.fail(err)
	}
}

var zeros [blockSize]byte
