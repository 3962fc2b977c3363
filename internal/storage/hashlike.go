package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// HashLike is HashFile for a file that shares blocks with like, whose hash is h, and in chunks of the same size. A
// chunk with the same blocks in both is not read. A file system that cannot tell, and one without reflinks, has all of
// it read.
func HashLike(ctx context.Context, path, like string, h Hash) (Hash, error) {
	same, err := sameChunks(path, like, h.Length, h.Chunk)
	if err != nil {
		return HashFile(ctx, path, 0)
	}
	return hashFile(ctx, path, h.Chunk, func(i int) (Sum, bool) {
		if i < len(same) && same[i] {
			return h.Chunks[i], true
		}
		return Sum{}, false
	})
}

// sameChunks tells for each chunk of chunk bytes of the files a and b, both size bytes long, whether it consists of the
// same blocks. The error is also that of a file system that cannot tell.
func sameChunks(a, b string, size, chunk int64) ([]bool, error) {
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
		next, stop := iter.Pull2(extents(f, fiemapSync))
		defer stop()
		maps[i].next = next
	}
	same := slices.Repeat([]bool{true}, int(ChunksOf(size, chunk)))
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
			for i := at / chunk; i*chunk < end; i++ {
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
	next func() (extent, error, bool)
	e    extent // the first that may end after what is asked for
}

// at returns what is at off, which must not become smaller from call to call.
func (b *blockMap) at(off int64) (place, error) {
	for b.e.end() <= off {
		e, err, ok := b.next()
		if err != nil {
			return place{}, err
		}
		if b.e = e; !ok {
			b.e = extent{logical: math.MaxInt64}
		}
	}
	start, end := int64(b.e.logical), b.e.end()
	switch {
	case off < start:
		return place{end: start}, nil
	case b.e.flags&extentUnwritten != 0:
		return place{end: end}, nil
	}
	return place{end: end, data: true, odd: b.e.flags&extentOdd != 0, shift: int64(b.e.physical) - start}, nil
}

// WriteLike writes data to the new file path, with mode 0400. Blocks that the file like has at the same place are
// shared with it, where the file system can do that. Nothing is synced.
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
	had := make([]byte, min(len(data), 256*block))
	for at := 0; at < len(data); at += block {
		if at%len(had) == 0 {
			clear(had) // what is not there is a hole
			if _, err := f.ReadAt(had, int64(at)); err != nil && err != io.EOF {
				return err
			}
		}
		new := data[at:min(at+block, len(data))]
		if bytes.Equal(had[at%len(had):][:len(new)], new) {
			continue
		}
		if _, err := f.WriteAt(new, int64(at)); err != nil {
			return err
		}
	}
	return errors.Join(f.Truncate(int64(len(data))), f.Close())
}
