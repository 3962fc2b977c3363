package kernels

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/boot"
	"noid/internal/errs"
)

// realKernel is a distribution's, with its modules where its package has them.
func realKernel(t *testing.T) (path, version string) {
	t.Helper()
	path = os.Getenv("NOID_TEST_KERNEL")
	if path == "" {
		t.Skip("NOT RUN: NOID_TEST_KERNEL is not set")
	}
	k, err := boot.InspectKernel(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, k.Version
}

// TestImport keeps a real kernel, with the modules that it needs, and finds it by its name.
func TestImport(t *testing.T) {
	path, version := realKernel(t)
	dir := filepath.Join(t.TempDir(), "kernels")
	k, err := Import(t.Context(), dir, Source{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	want := Kernel{Name: version, Path: filepath.Join(dir, version, "boot/vmlinuz-"+version), Version: version, Arch: k.Arch, Format: k.Format,
		Modules: true, Lacks: []string{}, Source: path}
	if diff := cmp.Diff(want, k); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Kernel{want}, List(dir)); diff != "" {
		t.Error(diff)
	}
	if got := Path(dir, version); got != k.Path {
		t.Errorf("the path of %q is %q", version, got)
	}
	// The copy boots by itself: with its own modules, as many as the original's.
	have := func(kernel string) int {
		modules, err := boot.ResolveModules(boot.FindModules(kernel, version), []string{"virtio_blk", "ext4", "overlay"})
		if err != nil {
			t.Fatal(err)
		}
		return len(modules)
	}
	if mine, its := have(k.Path), have(path); mine != its || mine < 3 {
		t.Errorf("the copy has %d modules for its disk, the original %d", mine, its)
	}
	if _, err := Import(t.Context(), dir, Source{Path: path}); !errors.Is(err, errs.ErrExists) {
		t.Errorf("a second time: %v", err)
	}
	if err := Remove(dir, version); err != nil {
		t.Error(err)
	}
	if err := Remove(dir, version); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 { // the lock
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestImportRefused: a kernel without its modules is refused by its own path, and nothing of it stays; with the modules
// named it is taken.
func TestImportRefused(t *testing.T) {
	path, version := realKernel(t)
	dir, alone := filepath.Join(t.TempDir(), "kernels"), filepath.Join(t.TempDir(), "bzImage")
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(alone, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = Import(t.Context(), dir, Source{Path: alone})
	if !errors.Is(err, errs.ErrHost) || !strings.HasPrefix(err.Error(), `kernel "`+alone+`" needs its modules`) || errs.Hint(err) != "give its modules: --modules DIR" {
		t.Errorf("without modules: %v, hint %q", err, errs.Hint(err))
	}
	if _, err := Import(t.Context(), dir, Source{Path: alone, Modules: t.TempDir()}); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("with a directory without modules: %v", err)
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	modules := boot.FindModules(path, version)
	if _, err := Import(interrupted, dir, Source{Path: alone, Modules: modules}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if got := List(dir); len(got) != 0 {
		t.Errorf("refused, and kept: %v", got)
	}
	config := filepath.Join(t.TempDir(), "config")
	text := "#\nCONFIG_BLK_DEV_INITRD=y\nCONFIG_VIRTIO_PCI=m\nCONFIG_VIRTIO_MMIO=m\nCONFIG_VIRTIO_CONSOLE=m\n# CONFIG_OTHER is not set\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, given := range []string{modules, filepath.Dir(modules)} {
		k, err := Import(t.Context(), dir, Source{Path: alone, Modules: given, Config: config, Name: "mine"})
		if err != nil || !k.Modules || len(k.Lacks) != 0 { // the modules have what the configuration does not name
			t.Errorf("with modules %s: %+v, %v", given, k, err)
		}
		if err := Remove(dir, "mine"); err != nil {
			t.Error(err)
		}
	}
}

// TestPath: a word that is no kernel's name stays a path, whatever it is.
func TestPath(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "..", ".hidden", "kernel-0123456789abcdef"} {
		if err := os.MkdirAll(filepath.Join(dir, name, "boot"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".hidden/boot/vmlinuz-1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"a", "b", "", "../a", "./a", "..", ".hidden", "/boot/vmlinuz", "*"} {
		if got := Path(dir, word); got != word {
			t.Errorf("%q: %q", word, got)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a/boot/vmlinuz-1"), []byte("no kernel"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Path(dir, "a"); got != filepath.Join(dir, "a/boot/vmlinuz-1") {
		t.Errorf("a: %q", got)
	}
	if list := List(dir); len(list) != 1 || list[0].Broken == "" {
		t.Errorf("a damaged one is listed as %+v", list)
	}
}
