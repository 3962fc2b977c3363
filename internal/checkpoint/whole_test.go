package checkpoint

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"noid/internal/manifest"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// TestWhole keeps the whole memory of one checkpoint for its next clones: that file alone, as it was filled, and no longer
// than the checkpoint.
func TestWhole(t *testing.T) {
	h := newHistory(t)
	one, two := h.add(), h.add()
	record := func(id string) (c Record, dir string) {
		return Record{ID: id, Packed: true, Files: map[string]manifest.File{vmm.MemorySnap: {Length: 4}}}, filepath.Join(h.dir, id)
	}
	filled := func(id string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), vmm.MemorySnap)
		h.must(os.WriteFile(path, []byte(id[4:]), 0o600))
		c, dir := record(id)
		c.KeepWhole(dir, path)
		return path
	}
	links := func(id string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), vmm.MemorySnap)
		c, dir := record(id)
		if !c.LinkWhole(dir, path) {
			return ""
		}
		data, err := os.ReadFile(path)
		h.must(err)
		return string(data)
	}
	wants := func(what, ofOne, ofTwo string) {
		t.Helper()
		if a, b := links(one), links(two); a != ofOne || b != ofTwo {
			t.Errorf("%s: %q and %q", what, a, b)
		}
	}
	file := func() string {
		t.Helper()
		path, _, ok := whole(h.dir)
		if !ok {
			t.Fatal("there is none")
		}
		return path
	}
	wants("none yet", "", "")
	kept := filled(one)
	wants("of one", one[4:], "")
	if info, err := os.Stat(kept); err != nil || info.Mode() != 0o400 {
		t.Errorf("it may be written: %v, %v", info, err)
	}
	filled(two)
	wants("of the other", "", two[4:])
	h.must(os.Chtimes(file(), time.Time{}, time.Now().Add(-time.Hour)))
	wants("written to since", "", "")

	filled(one)
	if freed := DropWhole(h.dir); freed != 0 {
		t.Errorf("of what a clone has, %d bytes were freed", freed)
	}
	wants("dropped", "", "")
	h.must(os.Remove(filled(one)))
	if freed := DropWhole(h.dir); freed == 0 {
		t.Error("nothing was freed of what no clone has")
	}

	filled(one) // a name that no link has is a killed DropWhole's
	h.must(os.Link(file(), filepath.Join(h.dir, "whole.stray")))
	h.must(os.Symlink(filepath.Join("..", "elsewhere"), filepath.Join(h.dir, "whole.link")))
	h.must(Reclaim(h.dir, h.remove(two)))
	wants("another one forgotten", one[4:], "")
	h.must(Reclaim(h.dir, h.remove(one)))
	if _, err := os.Lstat(h.dir); !os.IsNotExist(err) {
		t.Errorf("the last one forgotten: %v", err)
	}

	// What was saved is told from what the disk has made of it.
	h = newHistory(t)
	one = h.add()
	c, dir := record(one)
	hash, err := storage.HashFile(t.Context(), filled(one), storage.HashChunk)
	h.must(err)
	c.Files[vmm.MemorySnap] = manifest.File{Length: 4, Sum: hash.Root(), Chunk: storage.HashChunk}
	h.must(c.checkWhole(t.Context(), dir))
	wants("sound", one[4:], "")
	info, err := os.Stat(file())
	h.must(err)
	h.must(os.Chmod(file(), 0o600))
	h.must(os.WriteFile(file(), []byte("xxxx"), 0o600))
	h.must(os.Chtimes(file(), time.Time{}, info.ModTime()))
	wants("rotten", "xxxx", "")
	h.must(c.checkWhole(t.Context(), dir))
	wants("rotten, and looked at", "", "")

	// What the link says is no path.
	h = newHistory(t)
	one = h.add()
	h.must(os.WriteFile(filepath.Join(h.dir, "..", "whole.x.1.y"), []byte("1234"), 0o600))
	for _, target := range []string{"../whole.x.1.y", "/etc/passwd", "whole", "whole.a.b.c.d", one} {
		h.must(os.Symlink(target, filepath.Join(h.dir, wholeFile)))
		if path, _, ok := whole(h.dir); ok {
			t.Errorf("%q leads to %s", target, path)
		}
		DropWhole(h.dir)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "..", "whole.x.1.y")); err != nil {
		t.Error(err)
	}
}
