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

// next is the block that the next append begins.
func (d *disk) next() int64 { return d.start + int64(len(d.buf)/blockSize) }

// append writes data, filled up with zeros to whole blocks, and returns its first block. data is at most 64 KiB.
func (d *disk) append(data []byte) (block uint32) {
	if len(d.buf)+len(data) > cap(d.buf)-blockSize {
		d.flush()
	}
	at := d.next()
	if at+int64(len(data)/blockSize)+1 >= maxBlocks {
		d.fail(fmt.Errorf("the image does not fit a file system of %d TiB", int64(maxBlocks)*blockSize>>40))
	}
	d.buf = append(d.buf, data...)
	if odd := len(d.buf) % blockSize; odd > 0 {
		d.buf = append(d.buf, zeros[odd:]...)
	}
	return uint32(at)
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
