package secret

import (
	"bytes"
	"context"
	"encoding/base64"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"noid/internal/network/grant"
)

var scanned = map[string]string{"GH": value, "KEY": "another-value-123456"}

func TestScan(t *testing.T) {
	key := scanned["KEY"]
	encoded := func(before string) string { return base64.StdEncoding.EncodeToString([]byte(before + value + "after")) }
	for _, tt := range []struct {
		what  string
		parts map[int64]string
		want  []string
	}{
		{"nothing", map[int64]string{0: "x"}, nil},
		{"at the beginning", map[int64]string{0: value}, []string{"GH"}},
		{"both", map[int64]string{100: value, 5 << 20: key}, []string{"GH", "KEY"}},
		{"across two windows", map[int64]string{window - 7: value}, []string{"GH"}},
		{"across the third", map[int64]string{3*window - 39: value}, []string{"GH"}},
		{"behind holes", map[int64]string{64<<20 + 5: key}, []string{"KEY"}},
		{"base64", map[int64]string{10: encoded("")}, []string{"GH"}},
		{"base64, one byte before", map[int64]string{10: encoded("u")}, []string{"GH"}},
		{"base64, two bytes before", map[int64]string{10: encoded("u:")}, []string{"GH"}},
		{"in two pages that lie apart", map[int64]string{5*pageBytes - 17: value[:17], 2 * pageBytes: value[17:]}, []string{"GH"}},
		{"in two such pages, one byte in one", map[int64]string{5*pageBytes - 1: value[:1], 9 << 20: value[1:]}, []string{"GH"}},
		{"half of it", map[int64]string{5*pageBytes - 20: value[:20]}, nil},
		{"two halves that do not fit", map[int64]string{5*pageBytes - 20: value[:20], 9 << 20: value[21:]}, nil},
		{"the placeholder", map[int64]string{7: grant.NewPlaceholder(value), 5*pageBytes - 20: grant.NewPlaceholder(value)}, nil},
	} {
		path := filepath.Join(t.TempDir(), "memory")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		for off, text := range tt.parts {
			f.WriteAt([]byte(text), off)
		}
		f.Truncate(65 << 20)
		f.Close()
		got, err := NewScanner(scanned).Scan(t.Context(), path)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v, want %v", tt.what, got, err, tt.want)
		}
	}
}

// TestScanDense finds a value at every place of random bytes, whatever else is there.
func TestScanDense(t *testing.T) {
	data := make([]byte, 2*window+3)
	rand.NewChaCha8([32]byte{1}).Read(data)
	path := filepath.Join(t.TempDir(), "disk")
	for _, at := range []int{0, 1, window - 40, window - 39, window - 1, window, 2*window - 38, len(data) - len(value)} {
		with := bytes.Clone(data)
		copy(with[at:], value)
		if err := os.WriteFile(path, with, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := NewScanner(scanned).Scan(t.Context(), path); err != nil || !slices.Equal(got, []string{"GH"}) {
			t.Errorf("at %d: %v, %v", at, got, err)
		}
	}
}

// TestScanOnce reads a file with two names once, and none that is no file.
func TestScanOnce(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.WriteFile(a, []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
	s := NewScanner(scanned)
	first, err := s.Scan(t.Context(), a)
	if err != nil || len(first) != 1 {
		t.Fatal(first, err)
	}
	if err := os.Link(a, b); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(b, make([]byte, 100), 0o600) // the scanner does not see it
	if second, err := s.Scan(t.Context(), b); err != nil || len(second) != 1 {
		t.Error(second, err)
	}
	if _, err := s.Scan(t.Context(), dir); err == nil {
		t.Error("a directory is scanned")
	}
	os.Symlink(a, filepath.Join(dir, "link"))
	if _, err := s.Scan(t.Context(), filepath.Join(dir, "link")); err == nil {
		t.Error("a link is followed")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewScanner(scanned).Scan(ended, a); err == nil {
		t.Error("it does not end")
	}
}

func BenchmarkScan(b *testing.B) {
	path := filepath.Join(b.TempDir(), "memory")
	data := make([]byte, 256<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := NewScanner(scanned).Scan(b.Context(), path); err != nil {
			b.Fatal(err)
		}
	}
}
