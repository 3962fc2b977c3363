package checkpoint

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"noid/internal/manifest"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// TestCheck finds a flipped bit in a checkpoint whose files have sums of different sizes, as they have when an older
// noid began the chain: its record says nothing of their size.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	c := Record{ID: "00000001", VM: "a", Memory: true, Files: map[string]manifest.File{}}
	var sums []byte
	for i, name := range c.FileNames() {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes.Repeat([]byte{byte(i + 1)}, 5<<20+i), 0o600); err != nil {
			t.Fatal(err)
		}
		chunk := storage.ChunkOf(5 << 20)
		if name == vmm.RootfsFile {
			chunk = storage.HashChunk
		}
		hash, err := storage.HashFile(t.Context(), path, chunk)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		file := manifest.FileOf(info, hash)
		if name == vmm.RootfsFile {
			file.Chunk = 0
		}
		c.Files[name] = file
		sums = append(sums, storage.SumBytes(hash.Chunks)...)
	}
	if err := os.WriteFile(filepath.Join(dir, SumsFile), sums, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.CheckSums(dir); err != nil {
		t.Error(err)
	}
	if err := c.Check(t.Context(), dir, true, nil); err != nil {
		t.Error(err)
	}
	for _, name := range c.FileNames() {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		damaged := bytes.Clone(whole)
		damaged[3<<20+99] ^= 1
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.Check(t.Context(), dir, true, nil); err == nil || !strings.Contains(err.Error(), name+" differs at 3 MiB ") {
			t.Errorf("with a bit of %s flipped at 3 MiB: %v", name, err)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	state := c.Files[vmm.StateSnap]
	for _, chunk := range []int64{-1, 1, 128 << 10, 1 << 40} { // a record that claims anything
		state.Chunk = chunk
		c.Files[vmm.StateSnap] = state
		if err := c.CheckSums(dir); err == nil {
			t.Errorf("sums of %d bytes each were believed", chunk)
		}
	}
}
