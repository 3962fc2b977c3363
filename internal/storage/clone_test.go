package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// onEach runs f in a directory of the usual file system and, as root, in ones of btrfs, XFS and XFS without reflinks.
func onEach(t *testing.T, f func(t *testing.T, dir string, reflinks bool)) {
	t.Run("here", func(t *testing.T) {
		dir := t.TempDir()
		ok, err := Reflinks(dir)
		if err != nil {
			t.Fatal(err)
		}
		f(t, dir, ok)
	})
	for _, c := range []struct {
		name     string
		mkfs     []string
		reflinks bool
	}{
		{"ext4", []string{"mkfs.ext4", "-q"}, false},
		{"btrfs", []string{"mkfs.btrfs", "-q"}, true},
		{"xfs", []string{"mkfs.xfs", "-q", "-m", "reflink=1"}, true},
		{"xfs without reflinks", []string{"mkfs.xfs", "-q", "-m", "reflink=0"}, false},
	} {
		t.Run(c.name, func(t *testing.T) { f(t, mount(t, 400<<20, c.mkfs...), c.reflinks) })
	}
}

// mount makes a file system of size bytes in a file and mounts it for as long as the test runs.
func mount(t *testing.T, size int64, mkfs ...string) string {
	t.Helper()
	return mountIn(t, t.TempDir(), size, mkfs...)
}

// mountIn is mount whose file is in the directory base.
func mountIn(t *testing.T, base string, size int64, mkfs ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: mounting needs root")
	}
	if _, err := exec.LookPath(mkfs[0]); err != nil {
		t.Skipf("NOT RUN: no %s", mkfs[0])
	}
	image, dir := filepath.Join(base, "image"), filepath.Join(base, "mnt")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", mkfs, err, out)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: no loop mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// sparseFile makes a file of 64 MiB with 1 MiB of data at 8 MiB, 3 bytes at 33 MiB and a hole at the end.
func sparseFile(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 1<<20)
	rand.Read(data)
	for _, step := range []error{f.Truncate(64<<20 + 5), writeAt(f, data, 8<<20), writeAt(f, []byte("end"), 33<<20), f.Sync()} {
		if step != nil {
			t.Fatal(step)
		}
	}
}

func writeAt(f *os.File, data []byte, off int64) error {
	_, err := f.WriteAt(data, off)
	return err
}

func TestClone(t *testing.T) {
	onEach(t, func(t *testing.T, dir string, reflinks bool) {
		src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
		sparseFile(t, src)
		method, err := Clone(t.Context(), dst, src)
		if err != nil {
			t.Fatal(err)
		}
		if (method == Reflink) != reflinks {
			t.Errorf("method %q on a file system with reflinks: %v", method, reflinks)
		}
		if got, err := Reflinks(dir); err != nil || got != reflinks {
			t.Errorf("Reflinks = %v, %v", got, err)
		}
		same(t, dst, src)
		if err := SyncFile(t.Context(), dst); err != nil {
			t.Fatal(err)
		}
		logical, allocated, err := Usage(dst)
		if err != nil || logical != 64<<20+5 || allocated < 1<<20 || allocated > 4<<20 {
			t.Errorf("Usage = %d, %d, %v: the holes are gone", logical, allocated, err)
		}
		if info, err := os.Stat(dst); err != nil || info.Mode() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		// The two are independent.
		f, err := os.OpenFile(dst, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("XYZ"), 33<<20); err != nil {
			t.Fatal(err)
		}
		if got := readAt(t, src, 33<<20, 3); string(got) != "end" {
			t.Errorf("writing the clone changed the source: %q", got)
		}
		if names, err := os.ReadDir(dir); err != nil || hasTemp(names) {
			t.Errorf("temporary files are left: %v, %v", names, err)
		}
	})
}

func hasTemp(entries []os.DirEntry) bool {
	for _, e := range entries {
		if len(e.Name()) > 4 && e.Name()[:5] == tempPrefix {
			return true
		}
	}
	return false
}

func same(t *testing.T, a, b string) {
	t.Helper()
	dataA, errA := os.ReadFile(a)
	dataB, errB := os.ReadFile(b)
	if errA != nil || errB != nil || !bytes.Equal(dataA, dataB) {
		t.Fatalf("%s and %s differ (%d and %d bytes; %v, %v)", a, b, len(dataA), len(dataB), errA, errB)
	}
}

func readAt(t *testing.T, path string, off int64, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, n)
	if _, err := f.ReadAt(buf, off); err != nil {
		t.Fatal(err)
	}
	return buf
}

// TestCopyBetween copies from one kind of file system to another, where neither reflinks nor, for some pairs,
// copy_file_range work.
func TestCopyBetween(t *testing.T) {
	onEach(t, func(t *testing.T, dir string, _ bool) {
		src := filepath.Join(t.TempDir(), "src")
		sparseFile(t, src)
		there, back := filepath.Join(dir, "dst"), src+".back"
		for _, c := range [][2]string{{there, src}, {back, there}} {
			if _, err := Clone(t.Context(), c[0], c[1]); err != nil {
				t.Fatal(err)
			}
			same(t, c[0], c[1])
			if _, allocated, err := Usage(c[0]); err != nil || allocated > 4<<20 {
				t.Errorf("%d bytes allocated, %v", allocated, err)
			}
		}
	})
}

// TestCopyByHand takes the way of file systems that have no copy_file_range.
func TestCopyByHand(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	sparseFile(t, src)
	in, err := os.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(dir, "dst"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c := copier{out: out, in: in}
	for off, size := int64(0), int64(64<<20+5); off < size; {
		n, err := c.copy(off, size-off)
		if err != nil {
			t.Fatal(err)
		}
		off += n
	}
	same(t, out.Name(), src)
	if _, err := c.copy(64<<20+5, 1); err == nil {
		t.Error("copying past the end reported no error: a file that shrinks would hang the copy")
	}
}

func TestCloneRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("data"), 0o600), os.WriteFile(at("taken"), []byte("kept"), 0o600),
		os.Symlink("file", at("link")), os.Symlink("nowhere", at("dangling")), os.Mkdir(at("dir"), 0o700), unix.Mkfifo(at("fifo"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		dst, src string
		kind     error
	}{
		{"new", "missing", errs.ErrNotFound}, {"new", "link", nil}, {"new", "dir", nil}, {"new", "fifo", nil},
		{"taken", "file", errs.ErrExists}, {"dangling", "file", errs.ErrExists}, {"missing/new", "file", nil},
	} {
		_, err := Clone(t.Context(), at(c.dst), at(c.src))
		if err == nil || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("Clone(%s, %s) = %v, want %v", c.dst, c.src, err, c.kind)
		}
	}
	if data, err := os.ReadFile(at("taken")); err != nil || string(data) != "kept" {
		t.Errorf("the existing file is now %q, %v", data, err)
	}
	for _, name := range []string{"new", "nowhere"} {
		if _, err := os.Lstat(at(name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there after a failure: %v", name, err)
		}
	}
}

func TestCloneCancelled(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	sparseFile(t, src)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Clone(ctx, dst, src); !errors.Is(err, context.Canceled) {
		t.Errorf("Clone = %v", err)
	}
	in, out := open(t, src), open(t, dst)
	if err := copySparse(ctx, out, in, 64<<20, true); !errors.Is(err, context.Canceled) {
		t.Errorf("copySparse = %v", err)
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestCloneFullDisk(t *testing.T) {
	for _, c := range []struct {
		size int64
		mkfs []string
	}{
		{16 << 20, []string{"mkfs.ext4", "-q"}},
		{120 << 20, []string{"mkfs.btrfs", "-q", "--mixed"}},
	} {
		t.Run(c.mkfs[0], func(t *testing.T) {
			dir := mount(t, c.size, c.mkfs...)
			src := filepath.Join(t.TempDir(), "src")
			data := make([]byte, c.size)
			rand.Read(data)
			if err := os.WriteFile(src, data, 0o600); err != nil {
				t.Fatal(err)
			}
			dst := filepath.Join(dir, "dst")
			_, err := Clone(t.Context(), dst, src)
			if err == nil { // btrfs allocates late: the copy fits in memory, and the sync tells
				err = SyncFile(t.Context(), dst)
				os.Remove(dst)
			}
			if !errors.Is(err, errs.ErrHost) || !errors.Is(err, unix.ENOSPC) || errs.Hint(err) == "" {
				t.Errorf("error %v, hint %q", err, errs.Hint(err))
			}
			if _, err := os.Lstat(dst); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the torn copy is left: %v", err)
			}
		})
	}
}
