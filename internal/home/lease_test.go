package home

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"noid/internal/vmm"
)

// leased is a home with the VM "a" and its lease.
func leased(t *testing.T) (*Home, *Lease) {
	h := openHome(t)
	l, err := h.NewLease(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	addVM(t, h, testVM("a", epoch))
	if err := l.Bind(h.VMDir("a")); err != nil {
		t.Fatal(err)
	}
	return h, l
}

// abandon is the end of the lease's process.
func (l *Lease) abandon() { l.f.Close() }

// sweepTo sweeps and looks which VMs are left, and how much in the staging area.
func sweepTo(t *testing.T, h *Home, staged int, vms ...string) {
	t.Helper()
	if err := h.Sweep(t.Context(), "test"); err != nil {
		t.Error(err)
	}
	wantNames(t, names(t, h), vms...)
	if left, err := os.ReadDir(h.StagingRoot()); err != nil || len(left) != staged {
		t.Errorf("staged: %v, %v", left, err)
	}
}

// TestLease: the VM stays while its process lives, and goes with it; so does one that was renamed, or replaced by a
// restore.
func TestLease(t *testing.T) {
	h, l := leased(t)
	sweepTo(t, h, 1, "a")
	if err := h.Rename("a", "b"); err != nil {
		t.Fatal(err)
	}
	if name, err := l.VM(h); name != "b" || err != nil {
		t.Fatalf("renamed to b, it is %q, %v", name, err)
	}
	addVM(t, h, testVM("a", epoch)) // another one
	addVM(t, h, testVM("c", epoch))
	if err := PassLease(h.VMDir("b"), h.VMDir("c")); err != nil {
		t.Fatal(err)
	}
	if err := PassLease(h.VMDir("a"), h.VMDir("c")); err != nil {
		t.Errorf("of a VM without a lease: %v", err)
	}
	sweepTo(t, h, 1, "a", "b", "c")
	l.abandon()
	sweepTo(t, h, 0, "a")
}

// TestLeaseEnds: what is destroyed meanwhile, or never made, leaves an empty lease; and a VM outlives one that is ended.
func TestLeaseEnds(t *testing.T) {
	h, l := leased(t)
	if err := os.RemoveAll(h.VMDir("a")); err != nil {
		t.Fatal(err)
	}
	addVM(t, h, testVM("a", epoch))
	sweepTo(t, h, 1, "a")
	l.abandon()
	sweepTo(t, h, 0, "a")
	l, err := h.NewLease(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Bind(h.VMDir("a")); err != nil {
		t.Fatal(err)
	}
	l.End()
	sweepTo(t, h, 0, "a")
}

// TestLeaseBusy: whoever works on the VM finishes first.
func TestLeaseBusy(t *testing.T) {
	h, l := leased(t)
	l.abandon()
	lock, err := h.Lock(t.Context(), "a", "test")
	if err != nil {
		t.Fatal(err)
	}
	sweepTo(t, h, 1, "a")
	lock.Unlock()
	sweepTo(t, h, 0)
}

// TestLeaseElsewhere: the VM of a lease that runs in another pid namespace stays until it has ended.
func TestLeaseElsewhere(t *testing.T) {
	h, l := leased(t)
	end := elsewhere(t, h.VMDir("a"))
	l.abandon()
	sweepTo(t, h, 1, "a")
	end()
	sweepTo(t, h, 0)
}

// TestLeaseKillsVMM: with a broken record too, what runs in the VM's directory is killed.
func TestLeaseKillsVMM(t *testing.T) {
	h, l := leased(t)
	dir := h.VMDir("a")
	if err := syscall.Mkfifo(filepath.Join(dir, vmm.SerialInFile), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.OpenFile(filepath.Join(dir, vmm.SerialInFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := exec.Command("sleep", "1000")
	cmd.Dir, cmd.Stdin = dir, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if err := os.WriteFile(filepath.Join(dir, vmManifest), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.abandon()
	sweepTo(t, h, 0)
	if cmd.Wait(); cmd.ProcessState.String() != "signal: killed" {
		t.Errorf("its VMM: %v", cmd.ProcessState)
	}
}
