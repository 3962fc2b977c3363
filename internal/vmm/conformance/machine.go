package conformance

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/helper"
	"noid/internal/proc"
	"noid/internal/storage"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// machine is one VM of the suite: its directory and, once started, its process.
type machine struct {
	h   Harness
	dir string
	m   vmm.Machine
	p   proc.Process
	con *console
}

// newMachine makes the directory of a VM that is not started: what noid's create leaves to a driver.
func newMachine(t *testing.T, h Harness, rootfsPath string) *machine {
	t.Helper()
	vm := &machine{h: h, dir: t.TempDir()}
	vm.m = vmm.Machine{
		Driver: h.Driver.Name(), CPUs: max(1, h.CPUs), MemMiB: memMiB,
		KernelPath: h.Guest.KernelPath, InitrdPath: h.Guest.InitrdPath, BootArgs: h.BootArgs,
		Agent: true,
	}
	if _, err := storage.Clone(t.Context(), filepath.Join(vm.dir, vmm.RootfsFile), rootfsPath); err != nil {
		t.Fatalf("copying the root file system: %v", err)
	}
	if err := unix.Mkfifo(filepath.Join(vm.dir, vmm.SerialInFile), 0o600); err != nil {
		t.Fatalf("making the console's input: %v", err)
	}
	vm.con = &console{dir: vm.dir}
	t.Cleanup(func() { vm.end(t) })
	return vm
}

// end kills what runs, and on failure shows what there is to see.
func (vm *machine) end(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	if err := vm.p.Kill(ctx); err != nil {
		t.Errorf("killing the VMM: %v", err)
	}
	for helper.Present(vm.dir) && ctx.Err() == nil { // it removes its sockets
		time.Sleep(10 * time.Millisecond)
	}
	if !t.Failed() {
		return
	}
	t.Logf("console of %s:\n%q", vm.dir, untrusted.Tail(filepath.Join(vm.dir, vmm.SerialLogFile), 2000))
	logs, _ := filepath.Glob(filepath.Join(vm.dir, "*.log"))
	for _, path := range logs {
		if filepath.Base(path) != vmm.SerialLogFile {
			t.Logf("%s: %q", path, untrusted.Tail(path, 2000))
		}
	}
}

// boot starts vm and waits for its shell.
func (vm *machine) boot(t *testing.T) {
	t.Helper()
	p, err := vm.h.Driver.Start(limit(t, stepLimit), vm.dir, &vm.m)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	vm.p = p
	vm.help(t)
	vm.con.await(t, bootLimit)
}

// checkpoint takes a snapshot of vm, which must be paused, and a copy of its disk.
func (vm *machine) checkpoint(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := vm.h.Driver.WriteBack(limit(t, bootLimit), vm.dir, true); err != nil {
		t.Fatalf("WriteBack: %v", err)
	}
	if err := vm.h.Driver.Snapshot(limit(t, bootLimit), vm.dir, dir, true); err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	if _, err := storage.Clone(t.Context(), filepath.Join(dir, vmm.RootfsFile), filepath.Join(vm.dir, vmm.RootfsFile)); err != nil {
		t.Fatalf("copying the disk: %v", err)
	}
	return dir
}

// placed makes the directory of a VM that Load can start from a checkpoint of vm.
func (vm *machine) placed(t *testing.T, checkpoint string) *machine {
	t.Helper()
	clone := newMachine(t, vm.h, filepath.Join(checkpoint, vmm.RootfsFile))
	clone.m = vm.m
	if vm.m.Base {
		if err := os.Link(filepath.Join(vm.dir, vmm.BaseFile), filepath.Join(clone.dir, vmm.BaseFile)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{vmm.MemorySnap, vmm.StateSnap} {
		if err := os.Link(filepath.Join(checkpoint, name), filepath.Join(clone.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return clone
}

// load loads a checkpoint of vm into a new directory and resumes it.
func (vm *machine) load(t *testing.T, checkpoint string) *machine {
	t.Helper()
	clone := vm.placed(t, checkpoint)
	clone.loadPaused(t)
	clone.tell(t, vmm.ResumeSaved)
	clone.con.await(t, stepLimit)
	return clone
}

func (vm *machine) loadPaused(t *testing.T) {
	t.Helper()
	saved := vm.m
	saved.Hardware = maps.Clone(vm.m.Hardware)
	p, err := vm.h.Driver.Load(limit(t, bootLimit), vm.dir, &vm.m, vmm.Saved{GuestUp: true})
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	vm.p = p
	vm.help(t)
	vm.wantState(t, vmm.Paused)
	CheckLoaded(t, vm.h.Driver, saved, vm.m)
	CheckFiles(t, vm.h.Driver, vm.dir)
}

func (vm *machine) tell(t *testing.T, c vmm.Command) {
	t.Helper()
	if err := vm.h.Driver.Tell(limit(t, stepLimit), vm.dir, c); err != nil {
		t.Fatalf("Tell(%d): %v", c, err)
	}
}

func (vm *machine) wantState(t *testing.T, want vmm.State) {
	t.Helper()
	// A second is all that State may take; a busy test machine gets a few tries.
	var got vmm.State
	var err error
	for range 10 {
		if got, err = vm.h.Driver.State(limit(t, stepLimit), vm.dir); err == nil {
			break
		}
	}
	if err != nil || got != want {
		t.Fatalf("State: %q, %v; want %q", got, err, want)
	}
}

// wantEnding waits for the guest's end and checks what the driver makes of it.
func (vm *machine) wantEnding(t *testing.T, want vmm.Ending) {
	t.Helper()
	stays := want == vmm.EndedPoweroff && vm.h.StaysAtPoweroff
	deadline := time.Now().Add(stepLimit)
	for vm.p.Alive() && !(stays && vm.h.Driver.Ended(vm.dir) == want) {
		if time.Now().After(deadline) {
			t.Fatalf("the guest did not end")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got := vm.h.Driver.Ended(vm.dir); got != want {
		t.Fatalf("Ended: %d, want %d", got, want)
	}
}

// limit returns a context that ends with the test or after d.
func limit(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
