package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestHashFile(t *testing.T) {
	for _, chunk := range []int64{FineChunk, HashChunk} {
		t.Run(fmt.Sprint(chunk), func(t *testing.T) { testHashFile(t, chunk) })
	}
}

func testHashFile(t *testing.T, chunk int64) {
	dir := t.TempDir()
	data := bytes.Repeat([]byte("0123456789abcdef"), 5*int(chunk)/16/2) // 2.5 chunks
	file := func(name string, change func(f *os.File)) string {
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.Truncate(6*chunk + 7)
		f.WriteAt(data, chunk)
		if change != nil {
			change(f)
		}
		return path
	}
	hash := func(path string) Hash {
		h, err := HashFile(t.Context(), path, chunk)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	plain := hash(file("plain", nil))
	if plain.Length != 6*chunk+7 || len(plain.Chunks) != 7 {
		t.Fatalf("the hash is of %d bytes in %d chunks", plain.Length, len(plain.Chunks))
	}
	if plain.Chunks[0] != (Sum{}) || plain.Chunks[1] == (Sum{}) || plain.Chunks[6] != (Sum{}) {
		t.Errorf("the chunks are %v", plain.Chunks)
	}
	// Written zeros are the hole that they replace.
	full := hash(file("full", func(f *os.File) { f.WriteAt(make([]byte, chunk), 0); f.WriteAt(make([]byte, 7), 6*chunk) }))
	if full.Root() != plain.Root() {
		t.Error("zeros differ from a hole")
	}
	for name, change := range map[string]func(f *os.File){
		"a bit":          func(f *os.File) { f.WriteAt([]byte{data[0] ^ 1}, chunk) },
		"a bit in zeros": func(f *os.File) { f.WriteAt([]byte{1}, 5*chunk+99) },
		"the last byte":  func(f *os.File) { f.WriteAt([]byte{1}, 6*chunk+6) },
		"longer":         func(f *os.File) { f.Truncate(6*chunk + 8) },
		"shorter":        func(f *os.File) { f.Truncate(6*chunk + 6) },
		"moved":          func(f *os.File) { f.WriteAt(data, 0) },
	} {
		if h := hash(file("changed", change)); h.Root() == plain.Root() {
			t.Errorf("%s: the same root", name)
		}
	}
	if h := hash(file("empty", func(f *os.File) { f.Truncate(0) })); h.Root() == plain.Root() || len(h.Chunks) != 0 {
		t.Errorf("an empty file: %v", h)
	}
}

func TestHashFileRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, make([]byte, 3*HashChunk), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := HashFile(ctx, path, HashChunk); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	if err := os.Symlink(path, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", ".", "missing"} {
		if _, err := HashFile(t.Context(), filepath.Join(dir, name), HashChunk); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestChunkOf has a sum stand for little of a guest's memory, and for much of a disk that would have millions of them.
func TestChunkOf(t *testing.T) {
	for length, want := range map[int64]int64{0: 64 << 10, 512 << 20: 64 << 10, 8 << 30: 64 << 10, 16 << 30: 128 << 10, 500 << 30: HashChunk, 4 << 40: HashChunk} {
		if got := ChunkOf(length); got != want {
			t.Errorf("of %d MiB: %d bytes, want %d", length>>20, got, want)
		}
	}
}

func TestSumText(t *testing.T) {
	s := SumOf([]byte("abc"))
	// The reference implementation's XXH3_128bits("abc").
	if s.String() != "06b05ab6733a618578af5f94892f3950" {
		t.Errorf("XXH3 of abc is %s", s)
	}
	var back Sum
	text, _ := s.MarshalText()
	if err := back.UnmarshalText(text); err != nil || back != s {
		t.Errorf("%s comes back as %s: %v", s, back, err)
	}
	for _, bad := range []string{"", "06", "zzb05ab6733a618578af5f94892f3950", "06b05ab6733a618578af5f94892f395000"} {
		if back.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is taken for a sum", bad)
		}
	}
}
