package tree

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(data []byte) (list []Entry, cut bool, err error) {
	r := NewReader(bytes.NewReader(data))
	for {
		e, err := r.Read()
		if err != nil {
			return list, r.Cut, err
		}
		list = append(list, e)
	}
}

func written(t testing.TB, list []Entry) []byte {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, e := range list {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	w.Cut()
	w.Close()
	return b.Bytes()
}

var entries = []Entry{
	{Path: "", Now: &File{Mode: 0o40755, Links: 3}},
	{Path: "a", Now: &File{Mode: 0o40755}},
	{Path: "a/b\n\x1b", Now: &File{Mode: 0o100644, Size: math.MaxInt64, Inode: math.MaxUint64, Mtime: -1, Ctime: math.MinInt64 + 5, Birth: 7}, Base: &File{UID: math.MaxUint32}},
	{Path: "a/c", Base: &File{Mode: 0o120777, Target: "../x"}},
	{Path: "a-b"},
	{Path: "ab", Now: &File{}},
}

// TestList: what is written is read, and whatever is cut or broken of it is an error.
func TestList(t *testing.T) {
	data := written(t, entries)
	got, cut, err := read(data)
	if diff := cmp.Diff(entries, got); diff != "" || err != io.EOF || !cut {
		t.Errorf("%v, cut %v:\n%s", err, cut, diff)
	}
	for n := range len(data) {
		if _, _, err := read(data[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	for _, path := range []string{"a", "Z", "b/../c", "b//c", "/b", "b/", "b\x00", "b/.", string(bytes.Repeat([]byte("b"), MaxPath+1))} {
		if _, _, err := read(written(t, []Entry{{Path: "aa"}, {Path: path}})); path != "" && !errors.Is(err, ErrBad) {
			t.Errorf("%.20q after aa: %v", path, err)
		}
	}
}

// TestOrder: it is that of a walk.
func TestOrder(t *testing.T) {
	want := []string{"", "a", "a/b", "a/b/c", "a/c", "a-b", "a.b", "aa", "b"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compare)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(written(f, entries))
	f.Fuzz(func(t *testing.T, data []byte) {
		last := ""
		list, _, err := read(data)
		for i, e := range list {
			if i > 0 && !Less(last, e.Path) || !valid(e.Path) {
				t.Fatalf("%q after %q", e.Path, last)
			}
			last = e.Path
		}
		if err == nil {
			t.Fatal("no end")
		}
	})
}
