package boot

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

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
