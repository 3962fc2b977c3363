package storage

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync"
	"unsafe"

	"github.com/zeebo/xxh3"
)

// HashChunk is how many bytes of a file one sum stands for at most, FineChunk at least.
const (
	HashChunk = 1 << 20
	FineChunk = 64 << 10
)

// maxHashed bounds the file that HashFile reads, in bytes. The sums of one so long are 64 MiB; a hostile VMM can make
// a file of holes as long as it likes.
const maxHashed = 4 << 40

// ChunkOf is how many bytes one sum of a new file of that length shall stand for. An idle guest writes to single pages
// all over its memory, and for each a chunk is read. But a long disk has so many chunks that they must not be small.
func ChunkOf(length int64) int64 {
	chunk := int64(FineChunk)
	for chunk < HashChunk && length/chunk > 1<<17 {
		chunk *= 2
	}
	return chunk
}

// ChunksOf is how many chunks a file of length bytes has.
func ChunksOf(length, chunk int64) int64 { return (length + chunk - 1) / chunk }

// Sum is a 128-bit XXH3 (https://xxhash.com/doc/v0.8.2), in its canonical order. It finds damage; it is no defence
// against somebody who can write the sum too. All zeros stand for a chunk of zeros: holes cost nothing.
type Sum [16]byte

// String is the sum in hexadecimal.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText implements encoding.TextMarshaler.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sum) UnmarshalText(text []byte) error {
	if len(text) != 2*len(s) {
		return fmt.Errorf("%q is not a sum", text)
	}
	_, err := hex.Decode(s[:], text)
	return err
}

// SumOf returns the sum of data.
func SumOf(data []byte) Sum { return Sum(xxh3.Hash128(data).Bytes()) }

// SumBytes is sums as they are in memory, one after the other. It shares their memory.
func SumBytes(sums []Sum) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(sums))), len(sums)*len(Sum{}))
}

// Hash is the contents of a file in sums.
type Hash struct {
	Length int64 // bytes
	Chunk  int64 // how many bytes one of Chunks stands for
	Chunks []Sum // the last may stand for fewer
}

// Root is the sum of the whole.
func (h Hash) Root() Sum {
	all := xxh3.New()
	all.Write(binary.LittleEndian.AppendUint64(nil, uint64(h.Length)))
	all.Write(SumBytes(h.Chunks))
	return Sum(all.Sum128().Bytes())
}

// HashFile reads the regular file path, all but its holes, and returns its hash with sums of chunk bytes each,
// FineChunk to HashChunk, or what ChunkOf says for 0. The length is read once, at the start.
func HashFile(ctx context.Context, path string, chunk int64) (Hash, error) {
	return hashFile(ctx, path, chunk, func(int) (Sum, bool) { return Sum{}, false })
}

// hashFile is HashFile, but for the chunks whose sums are known.
func hashFile(ctx context.Context, path string, chunk int64, known func(i int) (Sum, bool)) (Hash, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return Hash{}, fmt.Errorf("hashing: %w", err)
	}
	defer f.Close()
	if size > maxHashed {
		return Hash{}, fmt.Errorf("hashing %s: it is longer than %d TiB", path, maxHashed>>40)
	}
	if chunk == 0 {
		chunk = ChunkOf(size)
	}
	h := Hash{Length: size, Chunk: chunk, Chunks: make([]Sum, ChunksOf(size, chunk))}
	todo := h.unknown(f, known)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	buffers := sync.Pool{New: func() any { return new([HashChunk]byte) }}
	Each(len(todo), func(n int) {
		if ctx.Err() != nil {
			return
		}
		buf := buffers.Get().(*[HashChunk]byte)
		defer buffers.Put(buf)
		if err := h.hash(f, todo[n], buf[:]); err != nil {
			cancel(err)
		}
	})
	if err := context.Cause(ctx); err != nil {
		return Hash{}, fmt.Errorf("hashing %s: %w", path, err)
	}
	return h, nil
}

// run is chunks that are read at once, HashChunk bytes at most.
type run struct{ first, end int64 }

// unknown returns the chunks of f with data whose sums are not known, and fills in those that are. One reader does
// that: a shared descriptor has one offset to seek with.
func (h Hash) unknown(f *os.File, known func(i int) (Sum, bool)) (todo []run) {
	next := int64(0)
	for start, end := range dataRuns(f, h.Length) {
		for next = max(next, start/h.Chunk); next*h.Chunk < end; next++ {
			if sum, ok := known(int(next)); ok {
				h.Chunks[next] = sum
			} else if n := len(todo) - 1; n >= 0 && todo[n].end == next && (next+1-todo[n].first)*h.Chunk <= HashChunk {
				todo[n].end++
			} else {
				todo = append(todo, run{next, next + 1})
			}
		}
	}
	return todo
}

var zeros [HashChunk]byte

// hash reads a run of chunks of f and sums them.
func (h Hash) hash(f *os.File, r run, buf []byte) error {
	at := r.first * h.Chunk
	buf = buf[:min(r.end*h.Chunk, h.Length)-at]
	if n, err := f.ReadAt(buf, at); n < len(buf) {
		if err == io.EOF {
			err = fmt.Errorf("it became shorter meanwhile")
		}
		return err
	}
	for i := r.first; i < r.end; i++ {
		chunk := buf[:min(h.Chunk, int64(len(buf)))]
		buf = buf[len(chunk):]
		h.Chunks[i] = ChunkSum(chunk)
	}
	return nil
}
