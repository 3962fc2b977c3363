package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sort"
	"sync"

	"noid/internal/storage"
)

// ErrShort is a pack that ends before what a table names.
var ErrShort = errors.New("the pack ends before it")

// Content is what a table says, to be read.
type Content struct {
	*Pack
	Table
}

// readAt fills buf with what the content has at off, a multiple of Block.
func (c Content) readAt(buf []byte, off int64) error {
	clear(buf)
	for _, e := range c.in(off, roundUp(int64(len(buf)))) {
		part := buf[e.Off-off:]
		part = part[:min(e.Len, int64(len(part)))]
		if n, err := c.f.ReadAt(part, e.At); n < len(part) {
			if err == io.EOF {
				err = ErrShort
			}
			return err
		}
	}
	return nil
}

// Read reads all of the content and returns its hash with sums of chunk bytes each, as storage.HashFile does of a file.
// It writes the content to out, an empty file, if that is not nil; what the table has none of becomes a hole.
func (c Content) Read(ctx context.Context, chunk int64, out *os.File) (storage.Hash, error) {
	h := storage.Hash{Length: c.Length, Chunk: chunk, Chunks: make([]storage.Sum, storage.ChunksOf(c.Length, chunk))}
	if out != nil {
		if err := out.Truncate(c.Length); err != nil {
			return h, err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	buffers := sync.Pool{New: func() any { return new([storage.HashChunk]byte) }}
	todo := c.chunks(chunk)
	storage.Each(len(todo), func(n int) {
		if ctx.Err() != nil {
			return
		}
		buf := buffers.Get().(*[storage.HashChunk]byte)
		defer buffers.Put(buf)
		off := todo[n] * chunk
		data := buf[:min(chunk, c.Length-off)]
		err := c.readAt(data, off)
		h.Chunks[todo[n]] = storage.ChunkSum(data)
		if err != nil {
			err = fmt.Errorf("reading %s: %w", c.f.Name(), err)
		} else if out != nil {
			err = c.write(out, data, off)
		}
		if err != nil {
			cancel(err)
		}
	})
	return h, context.Cause(ctx)
}

// chunks returns the numbers of the chunks of chunk bytes of which the table has something, in order.
func (c Content) chunks(chunk int64) (list []int64) {
	for _, e := range c.Extents {
		i := e.Off / chunk
		if n := len(list) - 1; n >= 0 {
			i = max(i, list[n]+1)
		}
		for ; i*chunk < min(e.Off+e.Len, c.Length); i++ {
			list = append(list, i)
		}
	}
	return list
}

// write writes to out what the table has of data, which is at off.
func (c Content) write(out *os.File, data []byte, off int64) error {
	for _, e := range c.in(off, roundUp(int64(len(data)))) {
		part := data[e.Off-off:]
		if _, err := out.WriteAt(part[:min(e.Len, int64(len(part)))], e.Off); err != nil {
			return storage.Explain(err, out.Name())
		}
	}
	return nil
}

// Lacks returns where the content has something for which the pack has a hole or ends, and whether there is such a
// place. It reads nothing.
func (c Content) Lacks() (off int64, lacks bool) {
	var runs []Extent // of the pack's data, by At
	for start, end := range storage.DataRuns(c.f, c.end) {
		runs = append(runs, Extent{At: start, Len: end - start})
	}
	for _, e := range c.Extents {
		i := sort.Search(len(runs), func(i int) bool { return runs[i].At+runs[i].Len > e.At })
		if i == len(runs) || runs[i].At > e.At || roundUp(runs[i].At+runs[i].Len) < e.At+e.Len {
			return e.Off, true
		}
	}
	return 0, false
}

// ReadAt implements io.ReaderAt for an off that is a multiple of Block.
func (c Content) ReadAt(buf []byte, off int64) (int, error) {
	if off%Block != 0 {
		return 0, fmt.Errorf("reading at %d: no multiple of %d", off, Block)
	}
	buf = buf[:max(0, min(int64(len(buf)), c.Length-off))]
	if len(buf) == 0 {
		return 0, io.EOF
	}
	return len(buf), c.readAt(buf, off)
}

// Runs yields the runs of the content that the table has.
func (c Content) Runs() iter.Seq2[int64, int64] {
	return func(yield func(start, end int64) bool) {
		for i := 0; i < len(c.Extents); {
			start, end := c.Extents[i].Off, int64(0)
			for ; i < len(c.Extents) && (end == 0 || c.Extents[i].Off == end); i++ {
				end = c.Extents[i].Off + c.Extents[i].Len
			}
			if !yield(start, min(end, c.Length)) {
				return
			}
		}
	}
}
