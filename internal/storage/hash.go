package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/zeebo/xxh3"
)

// HashChunk is how many bytes of a file one sum stands for: damage is named that exactly.
const HashChunk = 1 << 20

// maxHashed bounds the file that HashFile reads, in bytes. The sums of one so long are 64 MiB; a hostile VMM can make
// a file of holes as long as it likes.
const maxHashed = 4 << 40

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

// Hash is the contents of a file in sums.
type Hash struct {
	Length int64 // bytes
	Chunks []Sum // one for each HashChunk bytes, the last may stand for fewer
}

// Root is the sum of the whole.
func (h Hash) Root() Sum {
	all := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(h.Chunks)*len(Sum{})), uint64(h.Length))
	for _, c := range h.Chunks {
		all = append(all, c[:]...)
	}
	return SumOf(all)
}

// HashFile reads the regular file path, all but its holes, and returns its hash. The length is read once, at the
// start.
func HashFile(ctx context.Context, path string) (Hash, error) {
	return hashFile(ctx, path, func(int) (Sum, bool) { return Sum{}, false })
}

// hashFile is HashFile, but for the chunks whose sums are known.
func hashFile(ctx context.Context, path string, known func(i int) (Sum, bool)) (Hash, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return Hash{}, fmt.Errorf("hashing: %w", err)
	}
	defer f.Close()
	if size > maxHashed {
		return Hash{}, fmt.Errorf("hashing %s: it is longer than %d TiB", path, maxHashed>>40)
	}
	h := Hash{Length: size, Chunks: make([]Sum, (size+HashChunk-1)/HashChunk)}
	var todo []int // the chunks with data, found by one reader: a shared descriptor has one offset to seek with
	for start, end := range dataRuns(f, size) {
		first := start / HashChunk
		if n := len(todo); n > 0 && int64(todo[n-1]) == first {
			first++
		}
		for i := first; i*HashChunk < end; i++ {
			todo = append(todo, int(i))
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	buffers := sync.Pool{New: func() any { return new([HashChunk]byte) }}
	Each(len(todo), func(n int) {
		if ctx.Err() != nil {
			return
		}
		i := todo[n]
		if sum, ok := known(i); ok {
			h.Chunks[i] = sum
			return
		}
		buf := buffers.Get().(*[HashChunk]byte)
		defer buffers.Put(buf)
		if err := hashChunk(f, h, i, buf[:]); err != nil {
			cancel(err)
		}
	})
	if err := context.Cause(ctx); err != nil {
		return Hash{}, fmt.Errorf("hashing %s: %w", path, err)
	}
	return h, nil
}

var zeros = make([]byte, HashChunk)

func hashChunk(f *os.File, h Hash, i int, buf []byte) error {
	at := int64(i) * HashChunk
	buf = buf[:min(HashChunk, h.Length-at)]
	if n, err := f.ReadAt(buf, at); n < len(buf) {
		if err == io.EOF {
			err = fmt.Errorf("it became shorter meanwhile")
		}
		return err
	}
	if !bytes.Equal(buf, zeros[:len(buf)]) {
		h.Chunks[i] = SumOf(buf)
	}
	return nil
}
