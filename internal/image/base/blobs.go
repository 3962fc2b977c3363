package base

import (
	"bytes"
	"io"

	"golang.org/x/sys/unix"

	"noid/internal/image/flatten"
)

// chunk is in what pieces files are read. It bounds how many extents a file of zeros and little else has.
const chunk = 64 << 10

// blobs are the contents of files on the disk, by their number.
type blobs struct {
	disk  *disk
	list  []blob // the first is the empty one
	chunk []byte
}

// blob are the extents of a file: nearly all have one.
type blob struct {
	first extent
	more  []extent
}

func newBlobs(d *disk) *blobs {
	return &blobs{disk: d, list: make([]blob, 1), chunk: make([]byte, chunk)}
}

// Write implements flatten.Store. Blocks of zeros become holes.
func (b *blobs) Write(r io.Reader, size int64) (flatten.Blob, error) {
	var content blob
	for offset := int64(0); offset < size; offset += chunk {
		data := b.chunk[:min(chunk, size-offset)]
		if _, err := io.ReadFull(r, data); err != nil {
			return 0, err
		}
		logical := uint32(offset / blockSize)
		for len(data) > 0 && isZero(data[:min(len(data), blockSize)]) {
			data = data[min(len(data), blockSize):]
			logical++
		}
		for len(data) > 0 {
			last := data[(len(data)-1)/blockSize*blockSize:]
			if !isZero(last) {
				break
			}
			data = data[:len(data)-len(last)]
		}
		if len(data) > 0 {
			content.add(extent{logical, b.disk.append(data), blocks(len(data))})
		}
	}
	return b.keep(content), b.disk.err
}

func (b *blobs) keep(content blob) flatten.Blob {
	b.list = append(b.list, content)
	return flatten.Blob(len(b.list) - 1)
}

// Check implements flatten.Store: it refuses what ext4 cannot have.
func (b *blobs) Check(n *flatten.Node) error {
	_, err := xattrsOf(n)
	return err
}

// Drop implements flatten.Store. The blocks stay free.
func (b *blobs) Drop(id flatten.Blob) {
	if b.disk.flush() != nil {
		return
	}
	for _, e := range b.list[id].extents() {
		// That a file system cannot do it costs room, no more.
		unix.Fallocate(int(b.disk.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(e.physical)*blockSize, int64(e.length)*blockSize)
		b.disk.free = append(b.disk.free, e)
	}
	b.list[id] = blob{}
}

// of returns the extents of a file's contents.
func (b *blobs) of(n *flatten.Node) []extent { return b.list[n.Blob].extents() }

func (b *blob) extents() []extent {
	if b.first.length == 0 {
		return nil
	}
	return append([]extent{b.first}, b.more...)
}

// add appends blocks: to the last extent if they follow it.
func (b *blob) add(e extent) {
	last := &b.first
	if len(b.more) > 0 {
		last = &b.more[len(b.more)-1]
	}
	switch {
	case last.length == 0:
		*last = e
	case last.logical+last.length == e.logical && last.physical+last.length == e.physical && last.length+e.length <= maxExtent:
		last.length += e.length
	default:
		b.more = append(b.more, e)
	}
}

func isZero(data []byte) bool { return bytes.Equal(data, zeros[:len(data)]) }

// blocks is how many blocks size bytes take.
func blocks(size int) uint32 { return uint32((size + blockSize - 1) / blockSize) }
