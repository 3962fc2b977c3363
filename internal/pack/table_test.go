package pack

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/storage"
)

var tables = []Table{
	{},
	{Length: 1},
	{Length: 5 * Block, Extents: []Extent{{0, Block, 9 * Block}, {Block, 2 * Block, 0}, {4 * Block, Block, 1 << 40}}},
	{Length: MaxLength, Extents: []Extent{{MaxLength - Block, Block, 0}}},
	{Length: 3*Block - 1, Extents: []Extent{{0, 3 * Block, 3 * Block}}},
}

func TestEncode(t *testing.T) {
	for _, want := range tables {
		got, err := Parse(want.Encode())
		if got.Extents = append([]Extent(nil), got.Extents...); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
		for i := range want.Encode() {
			bad := want.Encode()
			bad[i] ^= 4
			if _, err := Parse(bad); err == nil {
				t.Errorf("with byte %d changed, %+v is no damage", i, want)
			}
			if _, err := Parse(bad[:i]); err == nil {
				t.Errorf("%d bytes of %+v are no damage", i, want)
			}
		}
	}
}

// FuzzParse gives Parse tables whose sum is right: what it accepts is sound, and what Encode makes of that is the same
// table.
func FuzzParse(f *testing.F) {
	for _, t := range tables {
		data := t.Encode()
		f.Add(data[len(magic) : len(data)-len(storage.Sum{})])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		data := append([]byte(magic), body...)
		sum := storage.SumOf(data)
		table, err := Parse(append(data, sum[:]...))
		if err != nil {
			return
		}
		end := int64(0)
		for _, e := range table.Extents {
			if e.Off < end || e.Len <= 0 || e.At < 0 || e.At+e.Len < e.At || (e.Off|e.Len|e.At)%Block != 0 {
				t.Fatalf("it accepts %+v", e)
			}
			end = e.Off + e.Len
		}
		if table.Length < 0 || table.Length > MaxLength || end > roundUp(table.Length) {
			t.Fatalf("it accepts extents up to %d in %d bytes", end, table.Length)
		}
		again, err := Parse(table.Encode())
		if err != nil || !cmp.Equal(again, table) {
			t.Fatalf("%+v became %+v, %v", table, again, err)
		}
	})
}

func TestWith(t *testing.T) {
	const b, chunk = Block, 4 * Block
	base := Table{Length: 12 * b, Extents: []Extent{{b, 9 * b, 0}}}
	got := base.with(map[int64][]Extent{1: {{5 * b, b, 20 * b}}, 2: nil}, chunk)
	want := Table{Length: 12 * b, Extents: []Extent{{b, 3 * b, 0}, {5 * b, b, 20 * b}}}
	if !cmp.Equal(got, want) {
		t.Errorf("it is %+v", got)
	}
	if got := base.with(map[int64][]Extent{1: base.in(chunk, chunk)}, chunk); !cmp.Equal(got, base) || !bytes.Equal(got.Encode(), base.Encode()) {
		t.Errorf("the same extents make %+v", got)
	}
}

// TestOwners: a block is an owner's own while no other owner's table names it.
func TestOwners(t *testing.T) {
	table := func(blocks ...int64) (t Table) {
		for _, b := range blocks {
			t.Extents = append(t.Extents, Extent{At: b * Block, Len: Block})
		}
		return t
	}
	var owners Owners
	owners.Add(0, table(1, 2, 700))
	owners.Add(2, table(2, 3))
	owners.Add(0, table(1)) // of another of its files
	owners.Add(3, table(2))
	for owner, want := range []Part{{Own: 2 * Block, Shared: Block}, {}, {Own: Block, Shared: Block}, {Shared: Block}, {}} {
		if got := owners.Part(owner); got != want {
			t.Errorf("%d: %+v, want %+v", owner, got, want)
		}
	}
}
