package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// HashLike is HashFile for a file that was cloned from like, or as like was, and has been written to since: where both have
// the very same blocks, the sums are those of like and nothing is read. h is like's hash. A file system that cannot tell, and
// one whose clones are copies, has all of it read.
func HashLike(ctx context.Context, path, like string, h Hash) (Hash, error) {
	same, err := sameChunks(path, like, h.Length)
	if err != nil {
		return HashFile(ctx, path)
	}
	return hashFile(ctx, path, func(i int) (Sum, bool) {
		if i < len(same) && same[i] {
			return h.Chunks[i], true
		}
		return Sum{}, false
	})
}

// sameChunks tells for each chunk of the files a and b, both size bytes long, whether it consists of the same blocks. The error
// is also that of a file system that cannot tell.
func sameChunks(a, b string, size int64) ([]bool, error) {
	maps := make([]blockMap, 2)
	for i, path := range []string{a, b} {
		f, length, err := openRegular(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if length != size {
			return nil, fmt.Errorf("%s has %d bytes, not %d", path, length, size)
		}
		maps[i] = blockMap{f: f}
	}
	same := make([]bool, (size+HashChunk-1)/HashChunk)
	for i := range same {
		same[i] = true
	}
	for at := int64(0); at < size; {
		x, err := maps[0].at(at)
		if err != nil {
			return nil, err
		}
		y, err := maps[1].at(at)
		if err != nil {
			return nil, err
		}
		end := min(x.end, y.end, size)
		if x.odd || y.odd || x.data != y.data || x.data && x.shift != y.shift {
			for i := at / HashChunk; i*HashChunk < end; i++ {
				same[i] = false
			}
		}
		at = end
	}
	return same, nil
}

// place is what a range of a file up to end is on its device.
type place struct {
	end   int64
	data  bool  // else it is a hole
	odd   bool  // where it is, or what, is not known so exactly that equal numbers mean equal bytes
	shift int64 // from the place in the file to that on the device
}

// blockMap finds the blocks of a file, from its start to its end.
type blockMap struct {
	f *os.File
	m extentMap
	i uint32 // the first extent of m that may not lie before what is asked for
}

// at returns what is at off, which must not become smaller from call to call.
func (b *blockMap) at(off int64) (place, error) {
	for {
		for ; b.i < b.m.mapped; b.i++ {
			e := &b.m.extents[b.i]
			start, end := int64(e.logical), int64(e.logical+e.length)
			switch {
			case end <= off:
			case off < start:
				return place{end: start}, nil
			case e.flags&extentUnwritten != 0:
				return place{end: end}, nil
			default:
				return place{end: end, data: true, odd: e.flags&extentOdd != 0, shift: int64(e.physical) - start}, nil
			}
		}
		if n := b.m.mapped; n > 0 && b.m.extents[n-1].flags&extentLast != 0 {
			return place{end: 1<<63 - 1}, nil
		}
		b.m.start, b.m.length, b.m.flags, b.m.mapped, b.m.count, b.i = uint64(off), ^uint64(0)-uint64(off), fiemapSync, 0, uint32(len(b.m.extents)), 0
		if err := retry(func() error { return fiemap(b.f, &b.m) }); err != nil {
			return place{}, err
		}
		if b.m.mapped == 0 {
			return place{end: 1<<63 - 1}, nil
		}
	}
}

// WriteLike writes data to the new file path, with mode 0400. What the file like has at the same place is shared with it, where the
// file system can do that: the new file takes room for the blocks that differ. Nothing is synced.
func WriteLike(ctx context.Context, path, like string, data []byte) error {
	const block = 4096
	if len(data) > block {
		if how, err := Clone(ctx, path, like); err == nil && how == Reflink {
			if err := overwrite(path, data, block); err == nil {
				return os.Chmod(path, 0o400)
			}
		}
		os.Remove(path)
	}
	return os.WriteFile(path, data, 0o400)
}

// overwrite makes data the content of the file path and writes only the blocks that have to change.
func overwrite(path string, data []byte, block int) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	had := make([]byte, len(data))
	n, err := f.ReadAt(had, 0)
	if err != nil && err != io.EOF {
		return err
	}
	for at := 0; at < len(data); at += block {
		end := min(at+block, len(data))
		if end <= n && bytes.Equal(had[at:end], data[at:end]) {
			continue
		}
		if _, err := f.WriteAt(data[at:end], int64(at)); err != nil {
			return err
		}
	}
	return errors.Join(f.Truncate(int64(len(data))), f.Close())
}
