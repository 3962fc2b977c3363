package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
)

// TestMoved: the paths of files in a home are right after it was moved; the file holds them as counted from the home.
// An older noid wrote them absolute.
func TestMoved(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(dir, "outside")
	old, moved := filepath.Join(dir, "a", "home"), filepath.Join(dir, "b")
	must(os.MkdirAll(filepath.Join(old, "kernels", "6.1", "boot"), 0o700))
	must(os.MkdirAll(filepath.Join(old, "images"), 0o700))
	kernel, rootfs := "kernels/6.1/boot/vmlinuz", "images/busybox.ext4"
	for _, path := range []string{filepath.Join(old, kernel), filepath.Join(old, rootfs), outside} {
		must(os.WriteFile(path, []byte("x"), 0o700))
	}
	config := filepath.Join(old, "config.toml")
	must(os.WriteFile(config, []byte("kernel = '"+filepath.Join(old, kernel)+"'\n"), 0o600))
	must(Set(config, "rootfs", filepath.Join(old, rootfs), func(_, value string) error {
		if value != filepath.Join(old, rootfs) {
			t.Errorf("checked %q", value)
		}
		return nil
	}))
	must(Set(config, "qemu", outside, nil))
	data, err := os.ReadFile(config)
	if must(err); !strings.Contains(string(data), "rootfs = '"+rootfs+"'") || !strings.Contains(string(data), "qemu = '"+outside+"'") {
		t.Errorf("written:\n%s", data)
	}
	for _, home := range []string{old, moved} {
		if home == moved {
			must(os.Rename(old, moved))
		}
		path := filepath.Join(home, "config.toml")
		got, err := Load(path)
		if want := (Config{Kernel: filepath.Join(home, kernel), Rootfs: filepath.Join(home, rootfs), QEMU: outside}); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		if value, err := Get(path, "rootfs"); err != nil || value != got.Rootfs {
			t.Errorf("get: %q, %v", value, err)
		}
		if list, err := List(path); err != nil || len(list) != 3 || list[0] != (Entry{"kernel", got.Kernel}) {
			t.Errorf("list: %v, %v", list, err)
		}
	}
	// What is nowhere is left as it is, for the message.
	path := filepath.Join(moved, "config.toml")
	must(os.Remove(filepath.Join(moved, kernel)))
	if got, err := Load(path); err != nil || got.Kernel != filepath.Join(old, kernel) {
		t.Errorf("of a file that is gone: %q, %v", got.Kernel, err)
	}
}

// TestNotFound: not every file that cannot be looked at is missing.
func TestNotFound(t *testing.T) {
	config := writeConfig(t, "")
	if err := Set(config, "kernel", "/nosuch/kernel", nil); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("a missing one: %v", err)
	}
	err := Set(config, "kernel", "/"+strings.Repeat("x", 300), nil)
	if err == nil || errors.Is(err, errs.ErrNotFound) || strings.Contains(err.Error(), "not found") {
		t.Errorf("another error: %v", err)
	}
}
