package boot

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
)

// kernel writes the beginning of an arm64 Image of version 6.1.0, with all that it needs built in, and a module tree
// beside it.
func kernel(t *testing.T) string {
	t.Helper()
	dir := filepath.Dir(modulesDir(t, map[string]string{"virtio.ko": "depends=\x00"}))
	image := make([]byte, 4096)
	copy(image[0x38:], "ARM\x64")
	copy(image[1024:], "Linux version 6.1.0 (x) virtio_blk EXT4-fs")
	path := filepath.Join(dir, "Image")
	if err := errors.Join(os.WriteFile(path, image, 0o600), os.Mkdir(filepath.Join(dir, "modules"), 0o755),
		os.Rename(filepath.Join(dir, "6.1.0"), filepath.Join(dir, "modules/6.1.0"))); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInitramfs(t *testing.T) {
	kernel, cache := kernel(t), filepath.Join(t.TempDir(), "kernels")
	first, err := Initramfs(cache, kernel, true)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(first)
	if err != nil || !bytes.Contains(data, []byte("modules/000-virtio.ko\x00")) {
		t.Errorf("no module in it (%v)", err)
	}
	before, _ := os.Stat(first)
	again, err := Initramfs(cache, kernel, true)
	if err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(again); err != nil || !os.SameFile(before, after) {
		t.Errorf("the second call made %s anew (%v)", again, err)
	}

	without, err := Initramfs(cache, kernel, false)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{first: true, without: false} {
		if data, err := os.ReadFile(path); err != nil || bytes.Contains(data, []byte("00000000agent\x00")) != want {
			t.Errorf("%s: %v; an agent in it: want %v", path, err, want)
		}
	}

	stale := filepath.Join(cache, tmpPrefix+"killed")
	long := time.Now().Add(-2 * staleTmp)
	if err := errors.Join(os.WriteFile(stale, nil, 0o600), os.Chtimes(stale, long, long), os.Chtimes(kernel, long, long)); err != nil {
		t.Fatal(err)
	}
	if changed, err := Initramfs(cache, kernel, true); err != nil || changed == first {
		t.Errorf("another kernel got %s (%v)", changed, err)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, ".*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := os.RemoveAll(filepath.Join(filepath.Dir(kernel), "modules")); err != nil {
		t.Fatal(err)
	}
	bare, err := Initramfs(cache, kernel, true)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(bare); err != nil || bytes.Contains(data, []byte(".ko\x00")) || bare == first {
		t.Errorf("%s still has modules (%v)", bare, err)
	}
	if _, err := Initramfs(cache, kernel+"x", true); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("a missing kernel: got %v", err)
	}
}

func TestPrune(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kernels")
	keep := func(path string) bool { return path == filepath.Join(dir, "initrd-0000000000000001.cpio") }
	if err := Prune(dir, keep, time.Hour); err != nil {
		t.Errorf("no directory: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "initrd-0000000000000000.cpio"), 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * time.Hour)
	for name, used := range map[string]time.Time{
		"initrd-00000000deadbeef.cpio": old, "vmlinux-00000000deadbeef": old, "initrd-0000000000000001.cpio": old,
		"initrd-0000000000000002.cpio": time.Now(), "vmlinuz-6.1": old, "vmlinux-6.1": old, "initrd-x.img": old, "mine": old,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, used, used); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("mine", filepath.Join(dir, "vmlinux-0000000000000000")); err != nil {
		t.Fatal(err)
	}
	if err := Prune(dir, keep, time.Hour); err != nil {
		t.Fatal(err)
	}
	want := []string{"initrd-0000000000000000.cpio", "initrd-0000000000000001.cpio", "initrd-0000000000000002.cpio", "initrd-x.img", "mine", "vmlinux-0000000000000000", "vmlinux-6.1", "vmlinuz-6.1"}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestInitramfsIsUsed has an old initramfs asked for again: Prune must not take it away from the VM that is being made.
func TestInitramfsIsUsed(t *testing.T) {
	kernel, cache := kernel(t), t.TempDir()
	path, err := Initramfs(cache, kernel, true)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := Initramfs(cache, kernel, true); err != nil {
		t.Fatal(err)
	}
	if err := Prune(cache, func(string) bool { return false }, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
