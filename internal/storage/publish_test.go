package storage

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
)

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, data := range []string{"first", "second"} {
		if err := WriteFile(path, []byte(data), 0o440); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, data)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o440 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// A link is replaced and its target left alone.
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	write(t, target, "untouched")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(link, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFile(t, target, "untouched")
	wantFile(t, link, "new")
	// It fails over a directory, and leaves nothing behind.
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "sub"), nil, 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
}

// TestDataPieces has 500 GiB of holes with little data synced in as many pieces as have data.
func TestDataPieces(t *testing.T) {
	onEach(t, func(t *testing.T, dir string, _ bool) {
		f, err := os.Create(filepath.Join(dir, "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(500 << 30); err != nil {
			t.Fatal(err)
		}
		data := bytes.Repeat([]byte{1}, 3<<20) // a piece and a half
		written := []int64{0, 1 << 30, 499 << 30}
		for _, off := range written {
			if err := writeAt(f, data, off); err != nil {
				t.Fatal(err)
			}
		}
		for _, what := range []string{"dirty", "synced"} {
			if got := slices.Collect(dataPieces(f)); !slices.Equal(got, []int64{0, 2 << 20, 1 << 30, 1<<30 + 2<<20, 499 << 30, 499<<30 + 2<<20}) {
				t.Errorf("%s: the pieces of %d begin at %d", what, written, got)
			}
			if err := Sync(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestSyncFailing has a disk that can take no more while its file system believes that it can. Linux tells of that
// once: it must not be lost before the fsync, which then finds nothing wrong.
func TestSyncFailing(t *testing.T) {
	for _, mkfs := range []string{"mkfs.ext4", "mkfs.xfs"} {
		t.Run(mkfs, func(t *testing.T) {
			small := t.TempDir()
			if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", small).CombinedOutput(); err != nil {
				t.Skipf("NOT RUN: no mount, not root: %v: %s", err, out)
			}
			t.Cleanup(func() { exec.Command("umount", "-l", small).Run() }) // a loop device in it goes a moment later
			dir := mountIn(t, small, 400<<20, mkfs, "-q")
			path := filepath.Join(dir, "file")
			if err := os.WriteFile(path, bytes.Repeat([]byte{1}, 128<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := Finish(t.Context(), path); err == nil {
				t.Error("128 MiB were written to a disk of 100")
			}
		})
	}
}

func TestPublish(t *testing.T) {
	onEach(t, func(t *testing.T, dir string, _ bool) {
		tmp, final := filepath.Join(dir, ".new-a"), filepath.Join(dir, "a")
		write(t, filepath.Join(tmp, "x"), "1")
		if err := os.Symlink("/nowhere", filepath.Join(tmp, "link")); err != nil {
			t.Fatal(err)
		}
		if err := Publish(t.Context(), tmp, final); err != nil {
			t.Fatal(err)
		}
		wantFile(t, filepath.Join(final, "x"), "1")
		for _, taken := range []string{"a", "empty"} {
			write(t, filepath.Join(tmp, "x"), "2")
			if err := os.MkdirAll(filepath.Join(dir, taken), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := Publish(t.Context(), tmp, filepath.Join(dir, taken)); !errors.Is(err, errs.ErrExists) {
				t.Errorf("publishing over %q: %v", taken, err)
			}
			wantFile(t, filepath.Join(tmp, "x"), "2")
		}
		wantFile(t, filepath.Join(final, "x"), "1")
	})
}

func TestExchange(t *testing.T) {
	onEach(t, func(t *testing.T, dir string, _ bool) {
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "other", "b")
		write(t, filepath.Join(a, "x"), "from a")
		write(t, filepath.Join(b, "x"), "from b")
		for i, exchange := range []func(a, b string) error{Exchange, exchangeSlowly} {
			if err := exchange(a, b); err != nil {
				t.Fatal(err)
			}
			want := []string{"from a", "from b"}
			wantFile(t, filepath.Join(a, "x"), want[1-i])
			wantFile(t, filepath.Join(b, "x"), want[i])
			if err := exchange(a, filepath.Join(dir, "missing")); err == nil {
				t.Error("exchanged with nothing")
			}
			wantFile(t, filepath.Join(a, "x"), want[1-i])
		}
	})
}

func TestRemoveAll(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside", "kept")
	write(t, outside, "kept")
	tree := filepath.Join(dir, "tree")
	write(t, filepath.Join(tree, "sub", "deep", "file"), "x")
	if err := os.Symlink(filepath.Join(dir, "outside"), filepath.Join(tree, "sub", "link")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"sub/deep", "sub", ""} {
		if err := os.Chmod(filepath.Join(tree, d), 0o500); err != nil {
			t.Fatal(err)
		}
	}
	// Root needs no permission, so that it would never come here by itself.
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := makeWritable(root, "tree", 0); err != nil {
		t.Fatal(err)
	}
	var modes []os.FileMode
	for _, d := range []string{"tree", "tree/sub", "tree/sub/deep", "outside"} {
		info, err := os.Stat(filepath.Join(dir, d))
		if err != nil {
			t.Fatal(err)
		}
		modes = append(modes, info.Mode().Perm())
	}
	if diff := cmp.Diff([]os.FileMode{0o700, 0o700, 0o700, 0o700}, modes); diff != "" {
		t.Error(diff)
	}
	if err := os.Chmod(filepath.Join(tree, "sub"), 0o500); err != nil {
		t.Fatal(err)
	}
	for range 2 { // nothing there is no error
		if err := RemoveAll(tree); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(tree); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is still there: %v", err)
		}
	}
	wantFile(t, outside, "kept")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Dir(outside), link); err != nil {
		t.Fatal(err)
	}
	if err := RemoveAll(link); err != nil {
		t.Fatal(err)
	}
	wantFile(t, outside, "kept")
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "12345678")
	logical, allocated, err := Usage(filepath.Join(dir, "a"))
	if err != nil || logical != 8 || allocated%512 != 0 {
		t.Errorf("Usage = %d, %d, %v", logical, allocated, err)
	}
	if _, _, err := Usage(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Usage of nothing: %v", err)
	}
}

func TestFSType(t *testing.T) {
	for _, mkfs := range []string{"mkfs.ext4", "mkfs.btrfs", "mkfs.xfs"} {
		t.Run(mkfs, func(t *testing.T) {
			dir := mount(t, 400<<20, mkfs, "-q")
			if got := "mkfs." + FSType(dir); got != mkfs {
				t.Errorf("FSType of %s: %q", mkfs, got)
			}
			if free, err := Free(dir); err != nil || free < 100<<20 || free > 400<<20 {
				t.Errorf("Free = %d, %v", free, err)
			}
		})
	}
	if got := FSType("/proc"); got != "0x9fa0" {
		t.Errorf("FSType of /proc: %q", got)
	}
}
