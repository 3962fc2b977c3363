package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/vmm"
)

// TestUnknownMachineType loads what another QEMU saved, with a real binary but no guest.
func TestUnknownMachineType(t *testing.T) {
	d := New("", noKVM)
	if _, err := d.Version(t.Context()); err != nil {
		t.Skipf("NOT RUN: %v", err)
	}
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, vmm.SerialInFile), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, vmm.RootfsFile), strings.Repeat("\x00", 1<<20))
	write(t, filepath.Join(dir, vmm.StateSnap), "")
	write(t, filepath.Join(dir, vmm.MemorySnap), "")
	if err := os.Truncate(filepath.Join(dir, vmm.MemorySnap), 64<<20); err != nil {
		t.Fatal(err)
	}
	m := vmm.Machine{CPUs: 1, MemMiB: 64, KernelPath: "/dev/null", DriverVersion: "99.0.1", Hardware: map[string]string{
		hwMachine: "pc-q35-99.0" + q35Options, hwAccel: "tcg", hwCPU: "max", hwLayout: layout}}
	_, err := d.Load(t.Context(), dir, &m, vmm.Saved{})
	if !errors.Is(err, errs.ErrHost) || !strings.Contains(err.Error(), "pc-q35-99.0") || !strings.Contains(errs.Hint(err), "99.0.1") {
		t.Errorf("Load: %v, hint %q; want one of %v that names the machine type, and a hint with the version", err, errs.Hint(err), errs.ErrHost)
	}
}
