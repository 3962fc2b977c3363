package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"noid/internal/storage"
)

// Block is what a pack keeps at least, in bytes, and what all places in it are multiples of.
const Block = 4096

// MaxLength is the longest content of a table, in bytes.
const MaxLength = 4 << 40

// Extent is a run of a content's blocks that lie in the pack one after the other. All three are multiples of Block.
type Extent struct {
	Off, Len int64 // in the content, in bytes
	At       int64 // in the pack
}

// Table says where in a pack the content of a file is. What no extent covers is zeros.
type Table struct {
	Length  int64    // of the content, in bytes; the last block may reach beyond it
	Extents []Extent // in the order of Off; they do not overlap
}

// magic begins a table's file. The table's format is in its last digit.
const magic = "noidtab1"

// Encode makes a table's file: magic, length, number of extents; of each the blocks between it and the one before, its
// length in blocks, and its place less the place behind the one before; at last the sum of all that. Numbers are
// varints.
func (t Table) Encode() []byte {
	buf := binary.AppendUvarint([]byte(magic), uint64(t.Length))
	buf = binary.AppendUvarint(buf, uint64(len(t.Extents)))
	var off, at int64
	for _, e := range t.Extents {
		buf = binary.AppendUvarint(buf, uint64(e.Off-off)/Block)
		buf = binary.AppendUvarint(buf, uint64(e.Len)/Block)
		buf = binary.AppendVarint(buf, (e.At-at)/Block)
		off, at = e.Off+e.Len, e.At+e.Len
	}
	sum := storage.SumOf(buf)
	return append(buf, sum[:]...)
}

var errDamaged = errors.New("it is not as noid wrote it")

// Parse reads what Encode made. The extents of a table that it accepts lie within its length, in order, and at places
// that a file can have.
func Parse(data []byte) (Table, error) {
	body := len(data) - len(storage.Sum{})
	if body < len(magic) || string(data[:len(magic)]) != magic || storage.SumOf(data[:body]) != storage.Sum(data[body:]) {
		return Table{}, errDamaged
	}
	r := reader{data: data[len(magic):body]}
	t := Table{Length: r.bytes(MaxLength)}
	n := r.uint(uint64(len(r.data)) / 3) // no extent takes fewer bytes
	if r.failed {
		return Table{}, errDamaged
	}
	t.Extents = make([]Extent, 0, n)
	limit := roundUp(t.Length)
	var off, at int64
	for range n {
		off += Block * int64(r.uint(uint64(limit-off)/Block))
		e := Extent{Off: off, Len: Block * int64(r.uint(uint64(limit-off)/Block))}
		e.At = r.place(at)
		if r.failed || e.Len == 0 || e.At < 0 || e.At > math.MaxInt64-Block-e.Len {
			return Table{}, errDamaged
		}
		t.Extents = append(t.Extents, e)
		off, at = off+e.Len, e.At+e.Len
	}
	if len(r.data) > 0 {
		return Table{}, errDamaged
	}
	return t, nil
}

// reader reads varints. Once it has failed, all are 0.
type reader struct {
	data   []byte
	failed bool
}

// uint returns a number of at most limit.
func (r *reader) uint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.data)
	if r.failed = r.failed || n <= 0 || v > limit; r.failed {
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) bytes(limit int64) int64 { return int64(r.uint(uint64(limit))) }

// place returns a place in the pack that is noted as its distance from another one, in blocks.
func (r *reader) place(from int64) int64 {
	v, n := binary.Varint(r.data)
	if r.failed = r.failed || n <= 0 || v > math.MaxInt64/Block/2 || v < -from/Block; r.failed {
		return 0
	}
	r.data = r.data[n:]
	if from > math.MaxInt64/2 {
		r.failed = true
		return 0
	}
	return from + v*Block
}

// in returns the extents of t in the length bytes from off, which are multiples of Block, cut to that.
func (t Table) in(off, length int64) []Extent {
	end := off + length
	first := sort.Search(len(t.Extents), func(i int) bool { return t.Extents[i].Off+t.Extents[i].Len > off })
	var found []Extent
	for _, e := range t.Extents[first:] {
		if e.Off >= end {
			break
		}
		if skip := off - e.Off; skip > 0 {
			e = Extent{off, e.Len - skip, e.At + skip}
		}
		e.Len = min(e.Len, end-e.Off)
		found = append(found, e)
	}
	return found
}

// with returns t with the extents of changed in place of those that it has in each such chunk of chunk bytes.
func (t Table) with(changed map[int64][]Extent, chunk int64) Table {
	out := Table{Length: t.Length}
	keep := func(from, to int64) {
		if from < to {
			for _, e := range t.in(from, to-from) {
				out.Extents = join(out.Extents, e)
			}
		}
	}
	chunks := make([]int64, 0, len(changed))
	for i := range changed {
		chunks = append(chunks, i)
	}
	slices.Sort(chunks)
	at := int64(0)
	for _, i := range chunks {
		keep(at, i*chunk)
		for _, e := range changed[i] {
			out.Extents = join(out.Extents, e)
		}
		at = (i + 1) * chunk
	}
	keep(at, roundUp(t.Length))
	return out
}

// join appends e to list, or makes its last extent longer.
func join(list []Extent, e Extent) []Extent {
	if n := len(list) - 1; n >= 0 && list[n].Off+list[n].Len == e.Off && list[n].At+list[n].Len == e.At {
		list[n].Len += e.Len
		return list
	}
	return append(list, e)
}

// Bytes is how many bytes of the pack t names.
func (t Table) Bytes() (n int64) {
	for _, e := range t.Extents {
		n += e.Len
	}
	return n
}

// End is the place in the pack behind all that t names.
func (t Table) End() (end int64) {
	for _, e := range t.Extents {
		end = max(end, e.At+e.Len)
	}
	return end
}

// check is for a table that this program has made: it can be read back.
func (t Table) check() error {
	if t.Length < 0 || t.Length > MaxLength {
		return fmt.Errorf("%d bytes are more than the %d TiB that a table can have", t.Length, int64(MaxLength)>>40)
	}
	return nil
}

func roundUp(n int64) int64 { return (n + Block - 1) / Block * Block }
