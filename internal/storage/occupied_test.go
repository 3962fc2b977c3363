package storage

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writeBack has the file system of dir allocate what was written: btrfs and XFS do it late.
func writeBack(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
}

// occupy is Occupy where all can be looked at.
func occupy(t *testing.T, path string) *Occupied {
	t.Helper()
	o, err := Occupy(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &o
}

func TestOccupied(t *testing.T) {
	const mib = 1 << 20
	onEach(t, func(t *testing.T, dir string, reflinks bool) {
		put := func(name string, n int) string {
			path := filepath.Join(dir, name)
			data := make([]byte, n)
			rand.Read(data)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
				t.Fatal(err)
			}
			return path
		}
		// near: directories and the file system's own blocks are counted too, and are few.
		near := func(what string, got, want int64) {
			t.Helper()
			if got < want || got > want+256<<10 {
				t.Errorf("%s: %d bytes, want %d", what, got, want)
			}
		}
		is := func(path string, own, shared int64) {
			t.Helper()
			o := occupy(t, filepath.Join(dir, path))
			near("own of "+path, o.Own(), own)
			near("shared of "+path, o.Shared(), shared)
		}
		disk := put("a/disk", 8*mib)
		memory := put("a/memory", 4*mib)
		if err := os.Mkdir(filepath.Join(dir, "b"), 0o700); err != nil {
			t.Fatal(err)
		}
		clone := filepath.Join(dir, "b/disk")
		if _, err := Clone(t.Context(), clone, disk); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Link(memory, filepath.Join(dir, "b/memory")), os.Link(memory, filepath.Join(dir, "b/again")),
			os.Symlink(disk, filepath.Join(dir, "b/link"))); err != nil {
			t.Fatal(err)
		}
		writeBack(t, dir)
		total := int64(12 * mib)
		if reflinks {
			is("a", 0, 12*mib)
			is("b", 0, 12*mib)
		} else {
			total = 20 * mib
			is("a", 8*mib, 4*mib)
			is("b", 8*mib, 4*mib)
		}
		var both Occupied
		both.Add(*occupy(t, filepath.Join(dir, "a")))
		both.Add(*occupy(t, filepath.Join(dir, "b")))
		near("both together", both.Total(), total)
		if !reflinks {
			out, err := exec.Command("du", "-s", "-B1", filepath.Join(dir, "a"), filepath.Join(dir, "b")).Output() // it knows of names too
			sum := int64(0)
			for line := range strings.Lines(string(out)) {
				n, _ := strconv.ParseInt(strings.Fields(line)[0], 10, 64)
				sum += n
			}
			if err != nil || sum != both.Total() {
				t.Errorf("du says %d, %v; we %d", sum, err, both.Total())
			}
		}
		// A written part becomes the clone's own, and the blocks that it no longer has the other's.
		f, err := os.OpenFile(clone, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		data := make([]byte, 2*mib)
		rand.Read(data)
		if _, err := f.WriteAt(data, 4*mib); err != nil {
			t.Fatal(err)
		}
		writeBack(t, dir)
		if reflinks {
			is("b", 2*mib, 10*mib)
		}
		if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
			t.Fatal(err)
		}
		for range 100 { // XFS frees blocks when it has time
			if writeBack(t, dir); occupy(t, filepath.Join(dir, "b")).Shared() == 0 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		is("b", 12*mib, 0)
	})
}

// TestOccupiedFragments has more extents than one call tells of.
func TestOccupiedFragments(t *testing.T) {
	onEach(t, func(t *testing.T, dir string, reflinks bool) {
		const n, block = 700, 64 << 10
		path := filepath.Join(dir, "f")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		data := make([]byte, block)
		for i := range int64(n) {
			rand.Read(data)
			if _, err := f.WriteAt(data, 2*i*block); err != nil {
				t.Fatal(err)
			}
		}
		writeBack(t, dir)
		if _, err := Clone(t.Context(), path+"2", path); err != nil {
			t.Fatal(err)
		}
		own, shared := int64(n*block), int64(0)
		if reflinks {
			own, shared = shared, own
		}
		o := occupy(t, dir)
		if !reflinks {
			own *= 2 // of both
		}
		if o.Own() < own || o.Own() > own+256<<10 || o.Shared() != shared {
			t.Errorf("own %d, shared %d, want %d, %d", o.Own(), o.Shared(), own, shared)
		}
	})
}

func TestOccupiedUnreadable(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Occupy(t.Context(), filepath.Join(dir, "gone"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
	if os.Getuid() == 0 {
		t.Skip("NOT RUN: root may read all")
	}
	locked := filepath.Join(dir, "locked")
	if err := os.Mkdir(locked, 0); err != nil {
		t.Fatal(err)
	}
	o, err := Occupy(t.Context(), dir, nil)
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(fmt.Sprint(err), locked) || o.Own() < 1<<20 {
		t.Errorf("own %d, %v", o.Own(), err)
	}
}
