package firecracker

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noid/internal/proc"
	"noid/internal/storage"
	"noid/internal/vmm"
	"noid/internal/vmm/conformance/tinyguest"
)

// kindOf returns the kind of snapshot that was asked for last of the double in dir.
func kindOf(t *testing.T, dir string) any {
	t.Helper()
	_, bodies := requests(t, dir)
	return bodies["/snapshot/create"]["snapshot_type"]
}

// TestBase follows the base of a VM through snapshots that succeed and fail: a Diff is asked for on a clone of it
// alone.
func TestBase(t *testing.T) {
	dir, d := newDir(t), New(fakeBinary(t, script{Version: "1.16.1"}))
	p, err := d.Start(t.Context(), dir, machine())
	if err != nil {
		t.Fatal(err)
	}
	kill(t, p)
	if err := d.Tell(t.Context(), dir, vmm.Pause); err != nil {
		t.Fatal(err)
	}
	snapshot := func(prepare, memory bool, dst string) error {
		t.Helper()
		if prepare {
			if err := d.WriteBack(t.Context(), dir, memory); err != nil {
				t.Fatal(err)
			}
		}
		return d.Snapshot(t.Context(), dir, dst, memory)
	}
	var last string
	for _, step := range []struct {
		name    string
		prepare bool
		before  func() // the snapshot
		without bool   // memory
		fails   bool
		want    string
	}{
		{name: "after the boot", prepare: true, want: "Diff"},
		{name: "again", prepare: true, want: "Diff"},
		{name: "not prepared", want: "Full"},
		{name: "after a Full one", prepare: true, want: "Diff"},
		{name: "written to since", prepare: true, before: func() {
			if err := os.WriteFile(last, []byte("rotten"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, want: "Full"},
		{name: "gone", prepare: true, before: func() { dropBase(dir) }, want: "Full"},
		{name: "forgotten", prepare: true, before: func() { os.Remove(last) }, want: "Diff"},
		{name: "refused", prepare: true, before: func() { d.Tell(t.Context(), dir, vmm.Resume) }, fails: true, want: "Diff"},
		{name: "after a failure", prepare: true, before: func() { d.Tell(t.Context(), dir, vmm.Pause) }, want: "Full"},
		{name: "without memory, of a checkpoint's", without: true, want: "Full"},
		{name: "into its own", without: true, want: "Diff"},
		{name: "its own refused", without: true, before: func() { d.Tell(t.Context(), dir, vmm.Resume) }, fails: true, want: "Diff"},
		{name: "its own after a failure", without: true, before: func() { d.Tell(t.Context(), dir, vmm.Pause) }, want: "Full"},
		{name: "with memory, of its own", prepare: true, want: "Diff"},
		{name: "without memory, of a prepared one", prepare: true, without: true, want: "Diff"},
		{name: "its own, written to since", without: true, before: func() {
			if err := os.WriteFile(bases(dir)[0], []byte("rotten"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, want: "Full"},
	} {
		if step.before != nil {
			time.Sleep(20 * time.Millisecond) // times of modification go in ticks
			step.before()
		}
		dst := t.TempDir()
		if err := snapshot(step.prepare, !step.without, dst); (err != nil) != step.fails {
			t.Fatalf("%s: %v", step.name, err)
		}
		// The Full one that resuming asks for, to a directory that is not there, comes before.
		if got := kindOf(t, dir); got != step.want {
			t.Errorf("%s: %v, want %s", step.name, got, step.want)
		}
		last = filepath.Join(dst, vmm.MemorySnap)
		if found := bases(dir); len(found) != 1 && !step.fails || len(found) != 0 && step.fails {
			t.Errorf("%s: bases %q", step.name, found)
		}
	}
}

// TestDiffIsWhole holds the memory of Diffs against that of Full snapshots of the same moment, with the real
// Firecracker and a guest that writes to its memory: after the boot, on snapshots and after a load, on a file system
// with reflinks and one without.
func TestDiffIsWhole(t *testing.T) {
	if _, err := exec.LookPath("firecracker"); err != nil {
		t.Skip("NOT RUN: no firecracker binary on PATH")
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		t.Skip("NOT RUN: Firecracker needs KVM")
	}
	kvm.Close()
	g := bootTiny(t)
	g.check("after the boot", true)
	g.ask("d 3")
	g.check("after 3 MiB", true)
	g.check("idle", true)
	g.ask("d 40")
	dst := g.check("after 40 MiB", true)
	if n, err := storage.DataBytes(t.Context(), filepath.Join(dst, vmm.MemorySnap)); err != nil || n > 60<<20 {
		t.Errorf("with 40 MiB written the memory takes %d MiB, %v", n>>20, err)
	}
	g.load(dst)
	g.ask("d 7")
	g.check("after a load", true)
	g.ask("d 5")
	g.check("into a clone of what a checkpoint has too", false)
	own, isOwn := ownBase(g.dir)
	before, err := os.Lstat(own)
	if err != nil || !isOwn {
		t.Fatalf("no base of its own: %v", err)
	}
	g.ask("d 9")
	g.check("into its own file", false)
	g.check("idle, into its own file", false)
	own, _ = ownBase(g.dir)
	if after, err := os.Lstat(own); err != nil || !os.SameFile(before, after) {
		t.Errorf("the Diff went into another file: %v", err)
	}
	g.ask("d 6")
	dst = g.check("with memory after that", true)
	g.load(dst)
	g.check("after a load, without memory", false)
	data, err := os.ReadFile(filepath.Join(g.dir, LogFile))
	if err != nil || strings.Contains(string(data), "panicked") || bytes.Contains(data, []byte("ERROR")) {
		t.Logf("firecracker's log: %s", data)
	}
}

// tiny is a real VM with the tiny guest.
type tiny struct {
	*testing.T
	d   *Driver
	m   *vmm.Machine
	dir string
	p   proc.Process
}

func bootTiny(t *testing.T) *tiny {
	t.Helper()
	g := &tiny{T: t, d: New(""), m: machine(), dir: newDir(t)}
	g.m.KernelPath, g.m.InitrdPath, g.m.CPUs, g.m.MemMiB = filepath.Join(t.TempDir(), "tiny.elf"), "", 1, 128
	g.must(os.WriteFile(g.m.KernelPath, tinyguest.Kernel(), 0o600))
	var err error
	g.p, err = g.d.Start(t.Context(), g.dir, g.m)
	g.must(err)
	kill(t, g.p)
	for i := 0; ; i++ { // until it has booted
		if _, err := tinyguest.Ask(g.dir, "c", time.Second); err == nil {
			return g
		} else if i == 20 {
			t.Fatal(err)
		}
	}
}

func (g *tiny) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

func (g *tiny) ask(line string) {
	g.Helper()
	if got, err := tinyguest.Ask(g.dir, line, 20*time.Second); err != nil {
		g.Fatalf("%q: %q, %v", line, got, err)
	}
}

// check takes a snapshot with or without memory, which is to be a Diff, and a Full one in the same pause, and compares
// them.
func (g *tiny) check(what string, memory bool) (dst string) {
	g.Helper()
	dst = g.TempDir()
	g.must(g.d.WriteBack(g.Context(), g.dir, memory))
	g.ask("s between") // after the clone was made
	g.must(g.d.Tell(g.Context(), g.dir, vmm.Pause))
	if _, own := ownBase(g.dir); !prepared(g.dir) && (memory || !own) {
		g.Errorf("%s: there is no base", what)
	}
	g.must(g.d.Snapshot(g.Context(), g.dir, dst, memory))
	file := filepath.Join(dst, vmm.MemorySnap)
	if !memory {
		if _, err := os.Lstat(file); !os.IsNotExist(err) {
			g.Errorf("%s: memory where none was asked for: %v", what, err)
		}
		file = g.d.MemorySource(g.dir)
	}
	c := newClient(g.dir)
	defer c.close()
	full := filepath.Join(newSnapDir, "full")
	g.must(c.call(g.Context(), time.Minute, http.MethodPut, "/snapshot/create",
		snapshotCreate{SnapshotType: "Full", SnapshotPath: newStateSnap, MemFilePath: full}, nil))
	want, err := storage.HashFile(g.Context(), filepath.Join(g.dir, full), storage.HashChunk)
	g.must(err)
	os.Remove(filepath.Join(g.dir, full))
	got, err := storage.HashFile(g.Context(), file, storage.HashChunk)
	if err != nil || got.Root() != want.Root() {
		g.Errorf("%s: the memory is not the Full snapshot's, %v", what, err)
	}
	// That Full one has reset the log of dirty pages too, at the same moment: the base stays true.
	g.must(g.d.Tell(g.Context(), g.dir, vmm.Resume))
	return dst
}

// load ends the guest and goes on from the snapshot in dst.
func (g *tiny) load(dst string) {
	g.Helper()
	g.must(g.p.Kill(context.Background()))
	for _, name := range []string{vmm.MemorySnap, vmm.StateSnap} {
		os.Remove(filepath.Join(g.dir, name))
		g.must(os.Link(filepath.Join(dst, name), filepath.Join(g.dir, name)))
	}
	var err error
	g.p, err = g.d.Load(g.Context(), g.dir, g.m, vmm.Saved{})
	g.must(err)
	kill(g.T, g.p)
	g.must(g.d.Tell(g.Context(), g.dir, vmm.Resume))
}
