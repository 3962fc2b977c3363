package tinyguest_test

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/boot"
	"noid/internal/untrusted"
	"noid/internal/vmm"
	"noid/internal/vmm/conformance"
	"noid/internal/vmm/conformance/tinyguest"
	"noid/internal/vmm/firecracker"
	"noid/internal/vmm/qemu"
)

func kernel(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.elf")
	if err := os.WriteFile(path, tinyguest.Kernel(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestIsKernel(t *testing.T) {
	if k, err := boot.InspectKernel(kernel(t)); err != nil || k.Format != boot.ELF || k.Arch != "amd64" {
		t.Errorf("InspectKernel says %+v, %v", k, err)
	}
}

func TestQEMU(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("NOT RUN: no qemu-system-x86_64")
	}
	try(t, qemu.New("", func() bool { return false }))
}

func TestFirecracker(t *testing.T) {
	if _, err := exec.LookPath("firecracker"); err != nil {
		t.Skip("NOT RUN: no firecracker on PATH")
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("NOT RUN: %v", err)
	}
	f.Close()
	try(t, firecracker.New(""))
}

// try boots the guest, takes a snapshot and goes back to it.
func try(t *testing.T, d vmm.Driver) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	m := vmm.Machine{CPUs: 1, MemMiB: 96, KernelPath: kernel(t)}
	dir := vmDir(t)
	p, err := d.Start(ctx, dir, &m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill(ctx)
	for deadline := time.Now().Add(time.Minute); !strings.Contains(string(untrusted.Tail(filepath.Join(dir, vmm.SerialLogFile), 100)), "tiny ready"); {
		if time.Now().After(deadline) {
			t.Fatalf("it does not boot; its console: %q", untrusted.Tail(filepath.Join(dir, vmm.SerialLogFile), 1000))
		}
		time.Sleep(time.Millisecond)
	}
	ask(t, dir, "s hello", "token hello")
	ask(t, dir, "c", "count 2")
	ask(t, dir, "d 8", "dirty 8")
	ask(t, dir, "p 1000", "dirty 1000")
	snap := t.TempDir()
	if err := d.Tell(ctx, dir, vmm.Pause); err != nil {
		t.Fatal(err)
	}
	conformance.CheckFiles(t, d, dir)
	conformance.CheckPaused(t, d, dir)
	if err := d.Snapshot(ctx, dir, snap, true); err != nil {
		t.Fatal(err)
	}
	if err := d.Tell(ctx, dir, vmm.Resume); err != nil {
		t.Fatal(err)
	}
	ask(t, dir, "s changed", "token changed")
	clone := cloneDir(t, snap)
	loaded := m
	loaded.Hardware = maps.Clone(m.Hardware)
	q, err := d.Load(ctx, clone, &loaded, vmm.Saved{})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Kill(ctx)
	conformance.CheckLoaded(t, d, m, loaded)
	conformance.CheckFiles(t, d, clone)
	conformance.CheckPaused(t, d, clone)
	if err := d.Tell(ctx, clone, vmm.Resume); err != nil {
		t.Fatal(err)
	}
	ask(t, clone, "g", "token hello")
	ask(t, dir, "g", "token changed")
	ask(t, clone, "c", "count 6")
	if _, err := tinyguest.Ask(clone, "h", 0); err == nil {
		t.Error("an answer to h")
	}
	if err := q.Wait(ctx); err != nil {
		t.Errorf("after h: %v", err)
	}
}

// vmDir makes what a driver expects of a VM's directory.
func vmDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, vmm.RootfsFile), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, vmm.SerialInFile), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// cloneDir is vmDir for a Load of the snapshot in snap.
func cloneDir(t *testing.T, snap string) string {
	t.Helper()
	dir := vmDir(t)
	for _, name := range []string{vmm.MemorySnap, vmm.StateSnap} {
		if err := os.Link(filepath.Join(snap, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func ask(t *testing.T, dir, line, want string) {
	t.Helper()
	got, err := tinyguest.Ask(dir, line, time.Minute)
	if err != nil || got != want {
		t.Fatalf("%q is answered %q, not %q: %v; the console: %q", line, got, want, err, untrusted.Tail(filepath.Join(dir, vmm.SerialLogFile), 1000))
	}
}
