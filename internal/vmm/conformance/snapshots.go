package conformance

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"noid/internal/vmm"
)

// testSnapshotPaused takes two snapshots in one pause.
func testSnapshotPaused(t *testing.T, vm *machine) {
	vm.con.run(t, "echo one >/tmp/turn")
	vm.tell(t, vmm.Pause)
	first := vm.checkpoint(t)
	vm.wantState(t, vmm.Paused)
	second := vm.checkpoint(t)
	vm.wantState(t, vmm.Paused)
	a, b := digest(t, filepath.Join(first, vmm.MemorySnap)), digest(t, filepath.Join(second, vmm.MemorySnap))
	if !bytes.Equal(a, b) && !vm.h.SnapshotTouchesMemory {
		t.Error("the memory of two snapshots in one pause differs")
	}
	if info, err := os.Stat(filepath.Join(first, vmm.MemorySnap)); err != nil || info.Size() != memMiB<<20 {
		t.Errorf("memory.snap: %v, %v; want %d bytes", info, err, memMiB<<20)
	}
	vm.tell(t, vmm.Pause) // still no error
	vm.tell(t, vmm.Resume)
	vm.con.wantRun(t, "cat /tmp/turn; echo two >/tmp/turn", "one")
	clone := vm.load(t, second)
	clone.con.wantRun(t, "cat /tmp/turn", "one")
}

// testSnapshotFails makes snapshots fail, and the guest go on.
func testSnapshotFails(t *testing.T, vm *machine) {
	d := vm.h.Driver
	if err := d.Snapshot(limit(t, stepLimit), vm.dir, t.TempDir(), true); err == nil {
		t.Error("Snapshot of a running guest: no error")
	}
	vm.wantState(t, vmm.Running)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	taken := t.TempDir()
	if err := os.WriteFile(filepath.Join(taken, vmm.MemorySnap), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dst := range map[string]string{"no directory": filepath.Join(file, "x"), "missing": filepath.Join(t.TempDir(), "none"), "taken": taken} {
		vm.tell(t, vmm.Pause)
		if err := d.Snapshot(limit(t, stepLimit), vm.dir, dst, true); err == nil {
			t.Errorf("Snapshot to %s: no error", name)
		}
		vm.wantState(t, vmm.Paused)
		vm.tell(t, vmm.Resume)
		vm.con.wantRun(t, "echo alive", "alive")
	}
	if got, _ := os.ReadFile(filepath.Join(taken, vmm.MemorySnap)); string(got) != "mine" {
		t.Errorf("a file that was in the way is now %.20q", got)
	}
	// The moment of the cancellation falls before, in or after the work: each must leave a VM that resumes.
	for after := time.Duration(0); after <= 160*time.Millisecond; after = 2*after + 5*time.Millisecond {
		vm.tell(t, vmm.Pause)
		err := d.Snapshot(cancelled(t, after), vm.dir, t.TempDir(), true)
		t.Logf("Snapshot cancelled after %v: %v", after, err)
		vm.wantState(t, vmm.Paused)
		vm.tell(t, vmm.Resume)
		vm.con.wantRun(t, "echo alive", "alive")
	}
	vm.tell(t, vmm.Pause)
	vm.checkpoint(t) // and one that nobody disturbs still works
	vm.tell(t, vmm.Resume)
}

// testClone loads a checkpoint beside its running source, and a checkpoint of that.
func testClone(t *testing.T, vm *machine) {
	d := vm.h.Driver
	vm.con.run(t, "echo before >/root/f; sync; sleep 12345 & true")
	vm.con.wantRun(t, "ps | grep -c 'sleep 1234[5]'", "1")
	if err := d.WriteBack(limit(t, stepLimit), vm.dir, true); err != nil {
		t.Fatalf("WriteBack: %v", err)
	}
	vm.tell(t, vmm.Pause)
	checkpoint := vm.checkpoint(t)
	vm.tell(t, vmm.Resume)
	vm.con.run(t, "echo after >/root/f; echo source >/root/only; sync; kill %1")
	want := digest(t, filepath.Join(checkpoint, vmm.MemorySnap))

	clone := vm.placed(t, checkpoint)
	clone.loadPaused(t)
	// A clone that has not run can be a source.
	unrun := clone.checkpoint(t)
	clone.tell(t, vmm.ResumeSaved)
	clone.con.await(t, stepLimit)
	check := func(name string, vm *machine) {
		t.Helper()
		t.Log(name)
		vm.con.wantRun(t, "cat /root/f; ls /root/only 2>/dev/null; ps | grep -c 'sleep 1234[5]'", "before\n1")
	}
	check("the clone", clone)
	clone.con.run(t, "echo clone >/root/mine; sync")
	vm.con.wantRun(t, "cat /root/f; ls /root/mine 2>/dev/null", "after")

	clone.tell(t, vmm.Pause)
	second := clone.checkpoint(t)
	if err := clone.p.Kill(limit(t, stepLimit)); err != nil {
		t.Fatal(err)
	}
	grandchild := clone.load(t, second)
	check("the clone's clone", grandchild)
	grandchild.con.wantRun(t, "cat /root/mine", "clone")
	if err := grandchild.p.Kill(limit(t, stepLimit)); err != nil {
		t.Fatal(err)
	}
	check("the clone of the clone that had not run", clone.load(t, unrun))
	if got := digest(t, filepath.Join(checkpoint, vmm.MemorySnap)); !bytes.Equal(got, want) {
		t.Error("running on a checkpoint changed its memory.snap")
	}
}

func digest(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return h.Sum(nil)
}
