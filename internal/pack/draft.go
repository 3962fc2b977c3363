package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"noid/internal/storage"
)

// maxHeld bounds, in bytes, what Hold keeps in memory. What is more it appends at once.
const maxHeld = 64 << 20

// Draft is the content of a file on its way into a pack. Read may come several times while the file is being written,
// and Hold once when it is not any more; Settle ends it. The caller closes it.
type Draft struct {
	pack    *Pack
	view    view
	base    Table        // the content that it began with
	hash    storage.Hash // of what was last read
	mu      sync.Mutex
	changed map[int64][]Extent // by the chunk's number, what is in place of base's
	held    map[int64][]byte   // likewise what Hold read that is neither in base nor in changed yet; nil for zeros
	bytes   int64              // of held
}

// unknown is the sum of no chunk.
var unknown = storage.SumOf([]byte("not known"))

// Draft begins the content of f. like is one of p that it has most in common with, and sums are that one's hash. Both
// may be zero; of hashes in chunks of another size all is compared.
func (p *Pack) Draft(f *os.File, like Table, sums storage.Hash) (*Draft, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	length := info.Size()
	d := &Draft{pack: p, base: Table{Length: length}, changed: map[int64][]Extent{}, held: map[int64][]byte{}}
	if err := d.base.check(); err != nil {
		return nil, err
	}
	if d.view, err = newView(f, length); err != nil {
		return nil, err
	}
	chunk := storage.ChunkOf(length)
	d.hash = storage.Hash{Length: length, Chunk: chunk, Chunks: make([]storage.Sum, storage.ChunksOf(length, chunk))}
	d.base.Extents = like.in(0, roundUp(length))
	switch {
	case sums.Chunk == chunk:
		copy(d.hash.Chunks, sums.Chunks)
	case len(d.base.Extents) > 0:
		for i := range d.hash.Chunks {
			d.hash.Chunks[i] = unknown
		}
	}
	return d, nil
}

// Close ends the draft. Its file stays open.
func (d *Draft) Close() { d.view.close() }

// Read brings the draft up to what the file has. It appends the blocks that differ.
func (d *Draft) Read(ctx context.Context) error { return d.read(ctx, d.view.fetch, d.place) }

// Hold is Read that appends nothing yet.
func (d *Draft) Hold(ctx context.Context) error {
	return d.read(ctx, func(int64, int64) {}, func(i int64, data []byte) error {
		if d.bytes += int64(len(data)); d.bytes > maxHeld {
			return d.place(i, data)
		}
		d.held[i] = bytes.Clone(data)
		return nil
	})
}

// Settle appends what Hold has kept.
func (d *Draft) Settle(ctx context.Context) error {
	for _, i := range slices.Sorted(maps.Keys(d.held)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.place(i, d.held[i]); err != nil {
			return err
		}
		delete(d.held, i)
	}
	return nil
}

// Hash is the hash of what was read last.
func (d *Draft) Hash() storage.Hash { return d.hash }

// Table is the table of what was read last and settled.
func (d *Draft) Table() Table { return d.base.with(d.changed, d.hash.Chunk) }

// read has differs take the chunks of the file that differ from what was last read, one at a time. data is nil for one
// of zeros, and else the callee's only until it returns. before comes before the bytes of a run are looked at.
func (d *Draft) read(ctx context.Context, before func(off, length int64), differs func(i int64, data []byte) error) error {
	info, err := d.view.f.Stat()
	if err == nil && info.Size() != d.hash.Length {
		err = fmt.Errorf("it has %d bytes, not %d", info.Size(), d.hash.Length)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", d.view.f.Name(), err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo, seen := d.chunksOf(d.view.f)
	buffers := sync.Pool{New: func() any { return new([storage.HashChunk]byte) }}
	storage.Each(len(todo), func(n int) {
		if ctx.Err() != nil {
			return
		}
		buf := buffers.Get().(*[storage.HashChunk]byte)
		defer buffers.Put(buf)
		first, end := todo[n].first*d.hash.Chunk, min(todo[n].end*d.hash.Chunk, d.hash.Length)
		before(first, end-first)
		if err := d.view.guarded(func() error { return d.look(todo[n], buf[:], differs) }); err != nil {
			cancel(err)
		}
	})
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for i := range seen {
		if !seen[i] && d.hash.Chunks[i] != (storage.Sum{}) {
			d.hash.Chunks[i] = storage.Sum{}
			if err := differs(int64(i), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// look has differs take those of the chunks of r that differ. The guest may write to them meanwhile: what differs is
// copied to buf first.
func (d *Draft) look(r run, buf []byte, differs func(i int64, data []byte) error) error {
	for i := r.first; i < r.end; i++ {
		data := d.view.data[i*d.hash.Chunk : min((i+1)*d.hash.Chunk, d.hash.Length)]
		if storage.ChunkSum(data) == d.hash.Chunks[i] {
			continue
		}
		data = buf[:copy(buf, data)]
		sum := storage.ChunkSum(data)
		if sum == (storage.Sum{}) {
			data = nil
		}
		if err := d.take(i, sum, data, differs); err != nil {
			return err
		}
	}
	return nil
}

func (d *Draft) take(i int64, sum storage.Sum, data []byte, differs func(i int64, data []byte) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if sum == d.hash.Chunks[i] { // it was on its way there
		return nil
	}
	d.hash.Chunks[i] = sum
	return differs(i, data)
}

// run is chunks that are looked at by one, storage.HashChunk bytes at most.
type run struct{ first, end int64 }

// chunksOf returns the chunks of f that have data, and for each chunk whether it has.
func (d *Draft) chunksOf(f *os.File) (todo []run, seen []bool) {
	chunk := d.hash.Chunk
	seen = make([]bool, len(d.hash.Chunks))
	next := int64(0)
	for start, end := range storage.DataRuns(f, d.hash.Length) {
		for next = max(next, start/chunk); next*chunk < end; next++ {
			seen[next] = true
			if n := len(todo) - 1; n >= 0 && todo[n].end == next && (next+1-todo[n].first)*chunk <= storage.HashChunk {
				todo[n].end++
			} else {
				todo = append(todo, run{next, next + 1})
			}
		}
	}
	return todo, seen
}

// extents are the draft's of chunk i.
func (d *Draft) extents(i int64) []Extent {
	if list, ok := d.changed[i]; ok {
		return list
	}
	return d.base.in(i*d.hash.Chunk, d.hash.Chunk)
}

// place makes data the draft's chunk i. It names the blocks that the draft has there already, and appends the others.
func (d *Draft) place(i int64, data []byte) error {
	off := i * d.hash.Chunk
	had := Content{d.pack, Table{d.base.Length, d.extents(i)}}
	var old []byte
	if len(data) > 0 && len(had.Extents) > 0 {
		old = make([]byte, len(data))
		if err := had.readAt(old, off); errors.Is(err, ErrShort) || errors.Is(err, unix.EIO) {
			old = nil // it is damaged: what the file has is not
		} else if err != nil {
			return err
		}
	}
	var list []Extent
	for at := int64(0); at < int64(len(data)); {
		kind := kindOf(data, old, at)
		end := at + Block
		for end < int64(len(data)) && kindOf(data, old, end) == kind {
			end += Block
		}
		switch kind {
		case same:
			for _, e := range had.in(off+at, end-at) {
				list = join(list, e)
			}
		case changed:
			place, err := d.pack.append(data[at:min(end, int64(len(data)))])
			if err != nil {
				return err
			}
			list = join(list, Extent{off + at, end - at, place})
		}
		at = end
	}
	d.changed[i] = list
	return d.drop(had.Extents, list)
}

// What a block is beside the one that was there.
const (
	zero = iota
	same
	changed
)

// kindOf tells it of the block of data at at. old is what was there, or nil when that is not known.
func kindOf(data, old []byte, at int64) int {
	end := min(at+Block, int64(len(data)))
	switch {
	case storage.IsZero(data[at:end]):
		return zero
	case old != nil && bytes.Equal(data[at:end], old[at:end]):
		return same
	}
	return changed
}

// drop gives back the blocks of had that this draft has appended and that list does not name.
func (d *Draft) drop(had, list []Extent) error {
	kept := Counts{}
	kept.Add(Table{Extents: list})
	for _, e := range had {
		if e.At < roundUp(d.pack.begun) {
			continue
		}
		for from, to := range kept.unused(e.At/Block, (e.At+e.Len)/Block) {
			if err := punch(d.pack.f, from*Block, to*Block); err != nil {
				return err
			}
		}
	}
	return nil
}
