package conformance

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/vmm"
)

// testLife follows one VM from its boot to its poweroff, and copies of it to other ends. Its steps build on each other.
func testLife(t *testing.T, h Harness) {
	vm := newMachine(t, h, h.Guest.RootfsPath)
	vm.boot(t)
	step := func(name string, f func(t *testing.T)) {
		if !t.Failed() {
			t.Run(name, f)
		}
	}
	step("Started", func(t *testing.T) {
		if vm.m.DriverVersion == "" || len(vm.m.Hardware) == 0 && h.Driver.Name() == "qemu" {
			t.Errorf("Start recorded version %q, hardware %v", vm.m.DriverVersion, vm.m.Hardware)
		}
		if version, err := h.Driver.Version(t.Context()); err != nil || version != vm.m.DriverVersion {
			t.Errorf("Version: %q, %v; Start recorded %q", version, err, vm.m.DriverVersion)
		}
		vm.wantState(t, vmm.Running)
		log, err := os.Open(filepath.Join(vm.dir, vmm.SerialLogFile))
		if err == nil {
			defer log.Close()
			err = unix.Flock(int(log.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		}
		if err != unix.EWOULDBLOCK {
			t.Errorf("locking the console's log: %v; the VMM is to have it locked", err)
		}
		CheckFiles(t, h.Driver, vm.dir)
		vm.con.wantRun(t, "echo $((6*7)); tty", "42\n/dev/ttyS0")
		if got := h.Driver.Ended(vm.dir); got != vmm.EndedUnknown {
			t.Errorf("Ended of a running guest: %d", got)
		}
	})
	step("LongLine", func(t *testing.T) { // longer than a UART's FIFO and than a pipe's atomic write is not: in pieces
		long := strings.Repeat("0123456789", 80)
		vm.con.wantRun(t, "echo "+long+" | wc -c", "801")
		vm.con.wantRun(t, "seq 1 5000 | tail -n 1", "5000")
	})
	step("Agent", func(t *testing.T) { testAgent(t, vm) })
	step("PauseResume", func(t *testing.T) { testPause(t, vm) })
	step("SnapshotPaused", func(t *testing.T) { testSnapshotPaused(t, vm) })
	step("SnapshotFails", func(t *testing.T) { testSnapshotFails(t, vm) })
	step("Clone", func(t *testing.T) { testClone(t, vm) })
	step("Endings", func(t *testing.T) { testEndings(t, vm) })
	step("ColdDisk", func(t *testing.T) { // the source's own end, and a boot from the disk that it left
		vm.con.send(t, "echo kept >/root/kept; sync; poweroff -f\n")
		vm.wantEnding(t, vmm.EndedPoweroff)
		if err := vm.p.Kill(limit(t, stepLimit)); err != nil {
			t.Fatal(err)
		}
		vm.boot(t)
		vm.con.wantRun(t, "cat /root/kept", "kept")
		if got := h.Driver.Ended(vm.dir); got != vmm.EndedUnknown {
			t.Errorf("Ended of the new boot: %d: the one before shows through", got)
		}
		vm.tell(t, vmm.Shutdown) // must be no error; obeying is the guest's business
		if h.ObeysShutdown {
			vm.wantEnding(t, vmm.EndedPoweroff)
		}
	})
}

// testPause has a guest write without end and looks whether it stops.
func testPause(t *testing.T, vm *machine) {
	vm.con.send(t, "while :; do echo tick; done &\n")
	defer vm.con.run(t, "kill %1; wait") // what it still writes would get into the next answer
	size := func() int { return len(vm.con.text(t)) }
	moves := func() bool {
		before := size()
		for deadline := time.Now().Add(stepLimit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if size() > before {
				return true
			}
		}
		return false
	}
	if !moves() {
		t.Fatal("the loop writes nothing")
	}
	for range 2 { // pausing a paused VM is no error
		vm.tell(t, vmm.Pause)
		vm.wantState(t, vmm.Paused)
		CheckPaused(t, vm.h.Driver, vm.dir)
	}
	time.Sleep(200 * time.Millisecond) // what is on its way from the VMM to the log arrives
	before := size()
	time.Sleep(500 * time.Millisecond) // the running loop writes hundreds of lines in this time
	if after := size(); after != before {
		t.Errorf("the paused guest wrote %d bytes", after-before)
	}
	for range 2 {
		vm.tell(t, vmm.Resume)
		vm.wantState(t, vmm.Running)
	}
	if !moves() {
		t.Error("the resumed guest writes nothing")
	}
	vm.tell(t, vmm.Pause)
	// A noid that stands still in the middle of a command has a connection open.
	still, err := vmm.Dial(t.Context(), vm.dir, vm.h.Driver.Name()+".sock")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true} {
		if ran, err := vm.h.Driver.LetRun(t.Context(), vm.dir); ran != want || err != nil {
			t.Errorf("LetRun: %t, %v", ran, err)
		}
	}
	still.Close()
	vm.wantState(t, vmm.Running)
	if !moves() {
		t.Error("the guest that was let run writes nothing")
	}
}

// testEndings ends copies of vm in each way.
func testEndings(t *testing.T, vm *machine) {
	vm.tell(t, vmm.Pause)
	checkpoint := vm.checkpoint(t)
	vm.tell(t, vmm.Resume)
	for _, test := range []struct {
		name, command string
		want          vmm.Ending
	}{
		{"Poweroff", "poweroff -f", vmm.EndedPoweroff},
		{"Reboot", "reboot -f", vmm.EndedReboot},
		{"Panic", "echo c >/proc/sysrq-trigger", vmm.EndedPanic},
		// A guest that only speaks of a panic has not had one.
		{"Talk", "echo '[    1.000000] Kernel panic - not syncing: no'; echo; echo then; reboot -f", vmm.EndedReboot},
	} {
		t.Run(test.name, func(t *testing.T) {
			clone := vm.load(t, checkpoint)
			clone.con.send(t, test.command+"\n")
			clone.wantEnding(t, test.want)
		})
	}
	t.Run("Halt", func(t *testing.T) { // the VMM knows nothing of it, and stays
		clone := vm.load(t, checkpoint)
		clone.con.send(t, "halt -f\n")
		for deadline := time.Now().Add(stepLimit); vm.h.Driver.Ended(clone.dir) != vmm.EndedPoweroff; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the guest did not halt")
			}
		}
		if !clone.p.Alive() {
			t.Error("the VMM ended")
		}
	})
	for _, state := range []string{"mem", "freeze"} {
		if !vm.h.Wakes {
			break
		}
		t.Run("Sleep/"+state, func(t *testing.T) {
			clone := vm.load(t, checkpoint)
			clone.con.send(t, "echo "+state+" >/sys/power/state && echo awak''ened\n")
			for deadline := time.Now().Add(stepLimit); !strings.Contains(clone.con.text(t), "awakened"); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the guest sleeps on")
				}
				clone.tell(t, vmm.Wake)
			}
			clone.tell(t, vmm.Wake) // of one that is awake: no button that would end it
			clone.con.wantRun(t, "echo still here", "still here")
			clone.con.send(t, "poweroff -f\n")
			clone.wantEnding(t, vmm.EndedPoweroff)
		})
	}
	t.Run("Killed", func(t *testing.T) {
		clone := vm.load(t, checkpoint)
		if err := syscall.Kill(clone.p.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := clone.p.Wait(limit(t, stepLimit)); err != nil {
			t.Fatal(err)
		}
		if clone.p.Alive() {
			t.Error("the killed VMM is alive")
		}
		clone.wantEnding(t, vmm.EndedUnknown)
		if state, err := vm.h.Driver.State(t.Context(), clone.dir); err == nil {
			t.Errorf("State of a dead VM: %q", state)
		}
		if err := vm.h.Driver.Tell(t.Context(), clone.dir, vmm.Resume); err == nil {
			t.Error("Tell to a dead VM: no error")
		}
	})
}

// processesIn counts the live processes whose working directory is dir: the VMMs that were started for it.
func processesIn(t *testing.T, dir string) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && cwd == dir {
			n++
		}
	}
	return n
}

// wantNoProcess checks that a failed call left nothing running.
func wantNoProcess(t *testing.T, vm *machine) {
	t.Helper()
	if n := processesIn(t, vm.dir); n != 0 {
		t.Errorf("%d processes left in %s", n, vm.dir)
	}
}

// cancelled returns a context that ends after d.
func cancelled(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	timer := time.AfterFunc(d, cancel)
	t.Cleanup(func() { timer.Stop(); cancel() })
	return ctx
}
