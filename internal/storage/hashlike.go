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

// WriteLike writes data, in parts, to the new file path, with mode 0400. Blocks that the file like has at the same place
// are shared with it, where the file system can do that. Blocks of zeros become holes. Nothing is synced.
func WriteLike(ctx context.Context, path, like string, data [][]byte) error {
	how, err := Clone(ctx, path, like)
	if err != nil || how != Reflink {
		os.Remove(path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := overwrite(f, data); err != nil {
		return explain(err, path)
	}
	return errors.Join(f.Chmod(0o400), f.Close())
}

const (
	block  = 4096        // what file systems share, in bytes
	window = 256 * block // what overwrite reads at once
)

// overwrite makes data the content of f and writes only the blocks that have to change.
func overwrite(f *os.File, data [][]byte) error {
	length := 0
	for _, part := range data {
		length += len(part)
	}
	at, had, read := int64(0), make([]byte, min(length, window)), false // what is not read is a hole
	for new := range inBlocks(data) {
		if at%window == 0 {
			next, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
			if read = !errors.Is(err, unix.ENXIO) && (err != nil || next < at+window); read {
				clear(had)
				if _, err := f.ReadAt(had, at); err != nil && err != io.EOF {
					return err
				}
			}
		}
		old := zeros[:len(new)]
		if read {
			old = had[at%window:][:len(new)]
		}
		if !bytes.Equal(old, new) {
			if _, err := f.WriteAt(new, at); err != nil {
				return err
			}
		}
		at += int64(len(new))
	}
	return f.Truncate(at)
}

// inBlocks yields the blocks of data, as if its parts were one. Only one that is in several parts is copied.
func inBlocks(data [][]byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var begun []byte
		for _, part := range data {
			if n := min(block-len(begun), len(part)); len(begun) > 0 {
				begun, part = append(begun, part[:n]...), part[n:]
				if len(begun) < block {
					continue
				}
				if !yield(begun) {
					return
				}
			}
			for ; len(part) >= block; part = part[block:] {
				if !yield(part[:block]) {
					return
				}
			}
			begun = append(make([]byte, 0, block), part...)
		}
		if len(begun) > 0 {
			yield(begun)
		}
	}
}

// ReadData fills buf, which is all zeros, with what f has at off. It reads no holes, and none of what follows the end.
func ReadData(f *os.File, buf []byte, off int64) error {
	for start, end := range dataRuns(f, off+int64(len(buf))) {
		if start = max(start, off); start >= end {
			continue
		}
		if _, err := f.ReadAt(buf[start-off:end-off], start); err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}
