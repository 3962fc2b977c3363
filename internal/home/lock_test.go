package home

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/vmm"
)

// roles are what this test binary does when it is run again as another noid.
var roles = map[string]func(h *Home, args []string) error{
	// hold takes a lock, says so and keeps it until it is killed.
	"hold": func(h *Home, args []string) error {
		if _, err := h.Lock(context.Background(), args[0], "checkpoint"); err != nil {
			return err
		}
		fmt.Println("held")
		select {}
	},
	// count adds n times one to the number of memory MiB of a VM, under its lock, and lists in between.
	"count": func(h *Home, args []string) error {
		for range countEach {
			lock, err := h.Lock(context.Background(), args[0], "count")
			if err != nil {
				return err
			}
			v, err := h.LoadVM(args[0])
			if err != nil {
				return err
			}
			v.Machine.MemMiB++
			if err := h.SaveVM(h.VMDir(args[0]), v); err != nil {
				return err
			}
			lock.Unlock()
			list, err := h.ListVMs(context.Background())
			if err != nil || len(list) != 1 || list[0].Err != nil || list[0].Machine.MemMiB < v.Machine.MemMiB {
				return fmt.Errorf("listed %v, %v after writing %d", list, err, v.Machine.MemMiB)
			}
			h.Close()
		}
		return nil
	},
}

const countEach = 25

func TestMain(m *testing.M) {
	if role := os.Getenv("STORE_TEST_ROLE"); role != "" {
		h, err := Open(os.Getenv("STORE_TEST_HOME"))
		if err == nil {
			err = roles[role](h, os.Args[1:])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func noid(t *testing.T, h *Home, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "STORE_TEST_ROLE="+role, "STORE_TEST_HOME="+h.Dir())
	cmd.Stderr = os.Stderr
	return cmd
}

func run(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
}

// holder starts another noid that holds the lock of name, and returns how to kill it.
func holder(t *testing.T, h *Home, name string) (pid int, kill func()) {
	t.Helper()
	cmd := noid(t, h, "hold", name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() { cmd.Process.Kill(); cmd.Wait() }
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatal(line, err)
	}
	return cmd.Process.Pid, kill
}

func TestLock(t *testing.T) {
	h := openHome(t)
	addVM(t, h, testVM("dev", epoch))
	pid, kill := holder(t, h, "dev")
	_, err := h.lockWithin(t.Context(), "dev", "stop", 0)
	if want := fmt.Sprintf(`vm "dev" is busy: "noid checkpoint" (pid %d) holds it`, pid); !errors.Is(err, errs.ErrBusy) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Lock(ctx, "dev", "stop"); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	other, err := h.Lock(t.Context(), "prod", "stop") // of another VM
	if err != nil {
		t.Fatal(err)
	}
	other.Unlock()
	other.Unlock()
	kill()
	lock, err := h.Lock(t.Context(), "dev", "stop")
	if err != nil {
		t.Fatalf("the holder is dead: %v", err)
	}
	// Within one process, too, a lock has one holder; and one that waits gets it.
	if _, err := h.lockWithin(t.Context(), "dev", "stop", 0); !errors.Is(err, errs.ErrBusy) {
		t.Errorf("taken twice: %v", err)
	}
	got := make(chan error)
	go func() {
		next, err := h.Lock(t.Context(), "dev", "start")
		next.Unlock()
		got <- err
	}()
	lock.Unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(filepath.Join(h.LocksDir(), "dev.lock")); err != nil || len(data) != 0 {
		t.Errorf("a free lock's file holds %q, %v", data, err)
	}
	if _, err := h.Lock(t.Context(), "../x", "stop"); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("locking a path: %v", err)
	}
}

// TestLockOfNothing: the lock of a name that no VM has leaves no file, and has one holder all the same.
func TestLockOfNothing(t *testing.T) {
	h := openHome(t)
	var held atomic.Bool
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				lock, err := h.Lock(t.Context(), "none", "stop")
				if err != nil || !held.CompareAndSwap(false, true) {
					t.Errorf("a second holder, or %v", err)
					return
				}
				runtime.Gosched()
				held.Store(false)
				lock.Unlock()
			}
		})
	}
	all.Wait()
	addCheckpoint(t, h, checkpoint.Record{ID: "00000001", VM: "destroyed", CreatedAt: epoch})
	lock, err := h.Lock(t.Context(), "destroyed", "forget")
	if err != nil {
		t.Fatal(err)
	}
	lock.Unlock()
	names, err := subdirs(h.LocksDir())
	slices.Sort(names)
	if want := []string{homeLock, "destroyed.lock"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("locks %q, %v; want %q", names, err, want)
	}
}

// TestManyProcesses has several noids change one record, and open a new index, at the same time.
func TestManyProcesses(t *testing.T) {
	h := openHome(t)
	v := testVM("dev", epoch)
	v.Machine.MemMiB = 0
	addVM(t, h, v)
	const processes = 4
	var cmds []*exec.Cmd
	for range processes {
		cmd := noid(t, h, "count", "dev")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	got, err := h.LoadVM("dev")
	if err != nil || got.Machine.MemMiB != processes*countEach {
		t.Errorf("counted to %d, want %d; %v", got.Machine.MemMiB, processes*countEach, err)
	}
	if aside, _ := filepath.Glob(globEscape(h.indexPath()) + ".damaged-*"); len(aside) != 0 {
		t.Errorf("a good index was moved aside: %q", aside)
	}
}

// fakeVMM starts a process in dir as vmm.Spawn starts a VMM: its stdin is dir's FIFO.
func fakeVMM(t *testing.T, dir string) *vmm.Child {
	t.Helper()
	if err := errors.Join(os.MkdirAll(dir, 0o700), unix.Mkfifo(filepath.Join(dir, vmm.SerialInFile), 0o600)); err != nil {
		t.Fatal(err)
	}
	child, err := vmm.Spawn(dir, []string{"/bin/sleep", "1000"}, "log", &vmm.Machine{}, vmm.Access{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(child.Abort)
	return child
}

func TestSweep(t *testing.T) {
	h := openHome(t)
	mkdir := func(dir string) string {
		if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	// A published VM that runs, and a restore of it that was killed before it had a process of its own.
	live := fakeVMM(t, h.VMDir("live"))
	v := testVM("live", epoch)
	v.Process = live.Process
	addVM(t, h, v)
	staged := mkdir(h.StagingDir("live"))
	// Killed after its VMM started: with its record written, and without.
	recorded, unrecorded := h.StagingDir("a-b"), h.OldDir("c")
	orphans := []*vmm.Child{fakeVMM(t, recorded), fakeVMM(t, unrecorded)}
	r := testVM("a-b", epoch)
	r.Process = orphans[0].Process
	if err := h.SaveVM(recorded, r); err != nil {
		t.Fatal(err)
	}
	if err := h.SaveVM(staged, v); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(recorded, vmm.SerialInFile)); err != nil {
		t.Fatal(err)
	}
	// In use by another noid, and nobody's but young.
	_, kill := holder(t, h, "busy")
	busy, busyCheckpoint := mkdir(h.StagingDir("busy")), mkdir(h.StagingDir("busy"))
	young, stray := mkdir(filepath.Join(h.StagingRoot(), ".tmp-1")), mkdir(filepath.Join(h.StagingRoot(), ".tmp-2"))
	age(t, stray)
	if err := os.Chtimes(stray, time.Now(), time.Now().Add(-2*strayAge)); err != nil {
		t.Fatal(err)
	}
	// Checkpoints: half made, read-only and half removed, whole; and a directory that holds none any more.
	half, old := mkdir(h.StagingDir("live")), mkdir(h.OldDir("live"))
	if err := os.Chmod(old, 0o500); err != nil {
		t.Fatal(err)
	}
	addCheckpoint(t, h, checkpoint.Record{ID: "00000001", VM: "live", CreatedAt: epoch})
	only := mkdir(h.StagingDir("gone"))

	if err := h.Sweep(t.Context(), "list"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{staged, recorded, unrecorded, stray, half, old, only, h.CheckpointsDir("gone")} {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", strings.TrimPrefix(dir, h.Dir()))
		}
	}
	for _, dir := range []string{h.VMDir("live"), busy, busyCheckpoint, young, h.CheckpointDir("live", "00000001")} {
		if _, err := os.Lstat(dir); err != nil {
			t.Errorf("removed: %v", err)
		}
	}
	for _, child := range orphans {
		if child.Alive() {
			t.Errorf("process %d of a removed directory is alive", child.PID)
		}
	}
	if !live.Alive() {
		t.Error("the published VM was killed")
	}
	kill()
	if err := h.Sweep(t.Context(), "list"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{busy, busyCheckpoint} {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there though its owner is dead", dir)
		}
	}
}
