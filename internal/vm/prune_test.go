package vm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noid/internal/boot"
	"noid/internal/checkpoint"
	"noid/internal/home"
	"noid/internal/vmm"
)

// TestPrune destroys and forgets, and looks at what is left of the kernels and initramfs in a home.
func TestPrune(t *testing.T) {
	h, err := home.Open(filepath.Join(t.TempDir(), "home"))
	must(t, err)
	defer h.Close()
	m := &Manager{Home: h}
	old := time.Now().Add(-pruneAge - time.Hour)
	file := func(name string) string {
		path := filepath.Join(h.KernelsDir(), name)
		must(t, os.WriteFile(path, nil, 0o600))
		must(t, os.Chtimes(path, old, old))
		return path
	}
	machine := func(digit string) vmm.Machine {
		id := digit + "123456789abcdef"
		return vmm.Machine{Driver: "fake", CPUs: 1, MemMiB: 128, KernelPath: file("vmlinux-" + id), InitrdPath: file("initrd-" + id + ".cpio")}
	}
	addVM := func(name string, machine vmm.Machine) {
		must(t, os.MkdirAll(h.VMDir(name), 0o700))
		must(t, h.SaveVM(h.VMDir(name), home.VM{Name: name, CreatedAt: old, Machine: machine}))
	}
	addCheckpoint := func(name, id string, machine vmm.Machine) {
		must(t, os.MkdirAll(h.CheckpointDir(name, id), 0o700))
		must(t, checkpoint.Write(h.CheckpointDir(name, id), checkpoint.Record{VM: name, ID: id, CreatedAt: old, Machine: machine}))
	}
	left := func(what string, want ...string) {
		t.Helper()
		var got []string
		entries, err := os.ReadDir(h.KernelsDir())
		must(t, err)
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	first, second := machine("1"), machine("2")
	addVM("gone", first)
	addVM("other", second)
	addCheckpoint("gone", "aaaaaaaa", first)
	machine("3")
	file("vmlinux-6.1") // not noid's
	all := []string{"initrd-1123456789abcdef.cpio", "initrd-2123456789abcdef.cpio", "initrd-3123456789abcdef.cpio",
		"vmlinux-1123456789abcdef", "vmlinux-2123456789abcdef", "vmlinux-3123456789abcdef", "vmlinux-6.1"}

	addVM("broken", second)
	must(t, os.WriteFile(filepath.Join(h.VMDir("broken"), "vm.json"), []byte("{"), 0o600))
	if kept, err := m.Destroy(t.Context(), "gone", false); err != nil || kept != 1 {
		t.Fatalf("destroy: %d %v", kept, err)
	}
	left("beside a broken record", all...)
	if _, err := m.PruneCache(t.Context()); err == nil || !strings.Contains(err.Error(), "kernels stay") {
		t.Errorf("prune beside a broken record: %v", err)
	}
	left("pruned beside a broken record", all...)

	_, err = m.Destroy(t.Context(), "broken", false)
	must(t, err)
	left("a destroyed vm's checkpoint", "initrd-1123456789abcdef.cpio", "initrd-2123456789abcdef.cpio",
		"vmlinux-1123456789abcdef", "vmlinux-2123456789abcdef", "vmlinux-6.1")

	must(t, m.Forget(t.Context(), "gone", []string{"aaaaaaaa"}))
	left("its checkpoint forgotten", "initrd-2123456789abcdef.cpio", "vmlinux-2123456789abcdef", "vmlinux-6.1")

	must(t, boot.Use(second.KernelPath))
	_, err = m.Destroy(t.Context(), "other", false)
	must(t, err)
	left("no vm, and one file was used of late", "vmlinux-2123456789abcdef", "vmlinux-6.1")

	third := machine("3")
	addVM("third", third)
	must(t, os.WriteFile(second.KernelPath, make([]byte, 1<<20), 0o600))
	if freed, err := m.PruneCache(t.Context()); err != nil || freed < 1<<20 {
		t.Errorf("prune: %d bytes freed, %v", freed, err)
	}
	left("pruned", "initrd-3123456789abcdef.cpio", "vmlinux-3123456789abcdef", "vmlinux-6.1")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestExtractedKernelIsUsed has an extracted kernel asked for again when it is old: a prune must not take it from the
// VM that is being made.
func TestExtractedKernelIsUsed(t *testing.T) {
	kernel := os.Getenv("NOID_TEST_KERNEL")
	if kernel == "" {
		t.Skip("NOT RUN: NOID_TEST_KERNEL is not set ('make test' does)")
	}
	h, err := home.Open(filepath.Join(t.TempDir(), "home"))
	must(t, err)
	defer h.Close()
	m := &Manager{Home: h}
	path, _, err := boot.Files(t.Context(), h.KernelsDir(), kernel, true, true)
	must(t, err)
	old := time.Now().Add(-pruneAge - time.Hour)
	must(t, os.Chtimes(path, old, old))
	again, _, err := boot.Files(t.Context(), h.KernelsDir(), kernel, true, true)
	must(t, err)
	if again != path {
		t.Errorf("extracted twice: %s, %s", path, again)
	}
	m.pruneKernels(t.Context())
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	must(t, os.Chtimes(path, old, old))
	m.pruneKernels(t.Context())
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unused kernel is left: %v", err)
	}
}
