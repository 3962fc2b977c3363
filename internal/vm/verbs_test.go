package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noid/internal/checkpoint"
	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/vm/vmtest"
	"noid/internal/vmm"
	"noid/internal/vmm/conformance/tinyguest"
)

// world is a home whose VMs the fake driver runs.
type world struct {
	*testing.T
	m    *Manager
	fake *vmtest.Driver
	base string // of which VMs are made, "" for a root file system
}

// newWorld has a kernel and a root file system, and the VM "a" if agent is given: with the agent or without.
func newWorld(t *testing.T, agent ...bool) *world {
	dir := t.TempDir()
	kernel, rootfs := filepath.Join(dir, "vmlinux"), filepath.Join(dir, "rootfs.ext4")
	must(t, os.WriteFile(kernel, tinyguest.Kernel(), 0o600))
	must(t, os.WriteFile(rootfs, nil, 0o600))
	must(t, os.Truncate(rootfs, 1<<20))
	if out, err := exec.Command("/sbin/mke2fs", "-q", "-F", rootfs).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h, err := home.Open(filepath.Join(dir, "home"))
	must(t, err)
	w := &world{T: t, fake: &vmtest.Driver{MemoryFile: true}}
	w.m = &Manager{Home: h, Drivers: vmtest.Drivers{Fake: w.fake}, Config: config.Config{Kernel: kernel, Rootfs: rootfs, Warm: "off"},
		Version: "test", Warn: func(s string) { t.Log("warning: " + s) }}
	t.Cleanup(func() {
		w.fake.Reset()
		names, _ := h.VMNames()
		for _, name := range names {
			w.m.Destroy(context.Background(), name, true)
		}
		h.Close()
	})
	for _, agent := range agent {
		must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: !agent}))
	}
	w.fake.Reset()
	return w
}

func (w *world) dir(name string) string { return w.m.Home.VMDir(name) }

// look is what a failed verb must not change, or only as a whole: the VMs with their states and memory, and the
// checkpoints.
func (w *world) look() string {
	w.Helper()
	var b strings.Builder
	infos, err := w.m.List(w.Context())
	must(w.T, err)
	for _, i := range infos {
		fmt.Fprintf(&b, "vm %s is %s, memory %q", i.Name, i.State, vmtest.Memory(w.dir(i.Name)))
	}
	entries, err := w.m.Checkpoints(w.Context(), "", false, false)
	must(w.T, err)
	for _, e := range entries {
		fmt.Fprintf(&b, "; checkpoint %q", e.Label)
	}
	return b.String()
}

// noLeftovers looks for what a verb left in the staging area, or in a VM's directory.
func (w *world) noLeftovers(after string) {
	w.Helper()
	entries, err := os.ReadDir(w.m.Home.StagingRoot())
	must(w.T, err)
	for _, e := range entries {
		w.Errorf("%s: %s is left", after, e.Name())
	}
}

// oneBase looks whether all VMs and checkpoints have the very base.
func (w *world) oneBase() {
	w.Helper()
	if w.base == "" {
		return
	}
	var files []string
	for _, pattern := range []string{w.m.Home.VMsDir() + "/*", w.m.Home.CheckpointsRoot() + "/*/????????"} {
		dirs, err := filepath.Glob(pattern)
		must(w.T, err)
		files = append(files, dirs...)
	}
	for _, dir := range files {
		if inodeAt(w.T, filepath.Join(dir, vmm.BaseFile)) != inodeAt(w.T, w.base) {
			w.Errorf("%s has a copy of the base", dir)
		}
	}
}

// verbs are the verbs that change something, each on a running VM "a" without the agent that has a checkpoint "old".
// steps are its calls of the driver, changes what is seen of it afterwards.
var verbs = []struct {
	name    string
	do      func(*world) error
	steps   []string
	changes string
}{
	{"create", func(w *world) error {
		return w.m.Create(w.Context(), CreateOptions{Name: "b", NoAgent: true, Base: w.base})
	},
		[]string{"start"}, `vm a is running, memory "now"vm b is running, memory "booted"; checkpoint "old"`},
	{"checkpoint", func(w *world) error { _, err := w.m.Checkpoint(w.Context(), "a", "new"); return err },
		[]string{"write back", "pause", "snapshot", "resume"}, `vm a is running, memory "now"; checkpoint "old"; checkpoint "new"`},
	{"restore --as", func(w *world) error { return w.m.Restore(w.Context(), "a", "old", RestoreOptions{As: "b"}) },
		[]string{"can load", "load", "resume"}, `vm a is running, memory "now"vm b is running, memory "then"; checkpoint "old"`},
	{"restore in place", func(w *world) error { return w.m.Restore(w.Context(), "a", "old", RestoreOptions{NoBackup: true}) },
		[]string{"can load", "load", "resume"}, `vm a is running, memory "then"; checkpoint "old"`},
	{"fork", func(w *world) error {
		var failed error
		_, err := w.m.Fork(w.Context(), "a", "", ForkOptions{As: "b"}, func(_ string, err error) { failed = err })
		return errors.Join(err, failed)
	}, []string{"write back", "pause", "snapshot", "resume", "load", "resume"}, `vm a is running, memory "now"vm b is running, memory "now"; checkpoint "old"`},
	{"pause", func(w *world) error { return w.m.Pause(w.Context(), "a") }, []string{"pause"}, `vm a is paused, memory "now"; checkpoint "old"`},
	{"stop --force", func(w *world) error { return w.m.Stop(w.Context(), "a", true) }, nil, `vm a is stopped, memory ""; checkpoint "old"`},
	{"destroy", func(w *world) error { _, err := w.m.Destroy(w.Context(), "a", false); return err }, nil, `; checkpoint "old"`},
	{"rename", func(w *world) error { return w.m.Rename(w.Context(), "a", "b") }, nil, `vm b is running, memory "now"; checkpoint "old"`},
	{"resize", func(w *world) error { return w.m.Resize(w.Context(), "a", 9<<10) }, []string{"grow disk"}, `vm a is running, memory "now"; checkpoint "old"`},
	{"forget", func(w *world) error { return w.m.Forget(w.Context(), "a", []string{"old"}) }, nil, `vm a is running, memory "now"`},
}

// prepared is the world that verbs are tried in, with VMs that have a base or not.
func prepared(t *testing.T, layers bool) *world {
	w := newWorld(t)
	if layers {
		w.base = filepath.Join(w.m.Home.Dir(), "base.ext4")
		must(t, os.MkdirAll(w.m.Home.Dir(), 0o700))
		must(t, os.Rename(w.m.Config.Rootfs, w.base))
	}
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true, Base: w.base}))
	must(t, vmtest.SetMemory(w.dir("a"), "then"))
	_, err := w.m.Checkpoint(t.Context(), "a", "old")
	must(t, err)
	must(t, vmtest.SetMemory(w.dir("a"), "now"))
	w.fake.Reset()
	return w
}

// TestBaseMoved: a base that is another file than it was, as after a move of the home, is looked at once; one that is
// damaged gets into no checkpoint.
func TestBaseMoved(t *testing.T) {
	w := prepared(t, true)
	base := filepath.Join(w.dir("a"), vmm.BaseFile)
	data, err := os.ReadFile(base)
	must(t, err)
	replace := func(data []byte) {
		must(t, os.Remove(base))
		must(t, os.WriteFile(base, data, 0o400))
	}
	replace(data)
	c, err := w.m.Checkpoint(t.Context(), "a", "moved")
	must(t, err)
	info, err := os.Lstat(base)
	must(t, err)
	if !c.Files[vmm.BaseFile].Untouched(info) {
		t.Error("the checkpoint tells its base as it was before")
	}
	if v, err := w.m.Home.LoadVM("a"); err != nil || !v.Base.Untouched(info) {
		t.Errorf("so does the VM: %v", err)
	}
	data[len(data)/2]++
	replace(data)
	if _, err := w.m.Checkpoint(t.Context(), "a", "damaged"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged base: %v", err)
	}
	w.noLeftovers("a damaged base")
}

// TestVerbs has each verb take its steps in their order, and each of its steps fail: nothing has changed then, the
// source runs, nothing is left over, and the same verb works again.
func TestVerbs(t *testing.T) {
	for i := range 2 * len(verbs) {
		verb, layers := verbs[i/2], i%2 == 1
		t.Run(fmt.Sprintf("%s, base %t", verb.name, layers), func(t *testing.T) {
			t.Parallel()
			w := prepared(t, layers)
			must(t, verb.do(w))
			if diff := cmp.Diff(verb.steps, w.fake.Calls()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if got := w.look(); got != verb.changes {
				t.Errorf("afterwards: %s, not %s", got, verb.changes)
			}
			w.noLeftovers("done")
			w.oneBase()
			for at, step := range verb.steps {
				w := prepared(t, layers)
				before := w.look()
				w.fake.Reset(at)
				if err := verb.do(w); !errors.Is(err, vmtest.ErrInjected) {
					t.Errorf("%s fails: %v", step, err)
				}
				must(t, w.m.Resume(t.Context(), "a")) // a resume that failed is tried again by the helper, which is not here
				if got := w.look(); got != before {
					t.Errorf("%s fails: %s, not %s", step, got, before)
				}
				w.noLeftovers(step + " fails")
				w.fake.Reset()
				if err := verb.do(w); err != nil {
					t.Errorf("%s failed, and again: %v", step, err)
				}
				if got := w.look(); got != verb.changes {
					t.Errorf("%s failed, and again: %s, not %s", step, got, verb.changes)
				}
			}
		})
	}
}

// TestBackup restores in place: the present is kept as a checkpoint meanwhile, and goes again when the restore fails.
func TestBackup(t *testing.T) {
	w := prepared(t, false)
	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{}))
	got := w.fake.Calls()
	slices.Sort(got) // the present is kept beside the load
	if diff := cmp.Diff([]string{"can load", "load", "pause", "resume", "resume", "snapshot", "write back"}, got); diff != "" {
		t.Error(diff)
	}
	if got := w.look(); !strings.Contains(got, `memory "then"; checkpoint "old"; checkpoint "before restore to `) {
		t.Error(got)
	}
	for at := range len(got) {
		w := prepared(t, false)
		before := w.look()
		w.fake.Reset(at)
		if err := w.m.Restore(t.Context(), "a", "old", RestoreOptions{}); !errors.Is(err, vmtest.ErrInjected) {
			t.Errorf("call %d of %v fails: %v", at, w.fake.Calls(), err)
		}
		w.fake.Reset()
		must(t, w.m.Resume(t.Context(), "a"))
		if got := w.look(); got != before {
			t.Errorf("call %d fails: %s, not %s", at, got, before)
		}
		w.noLeftovers(fmt.Sprint("call ", at))
	}
	for range keepBackups + 2 {
		must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{}))
	}
	if n := strings.Count(w.look(), checkpoint.BackupLabel); n != keepBackups {
		t.Errorf("%d backups are kept: %s", n, w.look())
	}
}

// TestAgentSteps follows what the agent is told: of a new VM, a pause, a checkpoint and a clone.
func TestAgentSteps(t *testing.T) {
	w := newWorld(t, true)
	for _, tt := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"a new VM", func() error { return w.m.Create(t.Context(), CreateOptions{Name: "b", Wait: time.Minute}) },
			[]string{"start", "agent ping", "agent restored"}},
		{"a first command", func() error { _, err := w.m.Jobs(t.Context(), "b"); return err }, []string{"agent jobs"}},
		{"pause", func() error { return w.m.Pause(t.Context(), "b") }, []string{"agent freeze", "pause"}},
		{"resume", func() error { return w.m.Resume(t.Context(), "b") }, []string{"resume", "wake", "agent thaw, clock"}},
		{"pause of a guest too busy to answer", func() error { w.fake.Reset(0); return w.m.Pause(t.Context(), "b") }, []string{"agent freeze", "pause"}},
		{"its resume", func() error { return w.m.Resume(t.Context(), "b") }, []string{"resume", "wake", "agent thaw, clock"}},
		{"checkpoint", func() error { _, err := w.m.Checkpoint(t.Context(), "b", "c"); return err },
			[]string{"agent sync", "write back", "agent freeze, clock", "pause", "snapshot", "resume", "agent thaw, clock"}},
		{"clone", func() error { return w.m.Restore(t.Context(), "b", "c", RestoreOptions{As: "c"}) },
			[]string{"can load", "load", "resume", "agent restored"}},
		{"stop", func() error { return w.m.Stop(t.Context(), "b", true) }, nil},
		{"a clone that did not hear who it is, and boots", func() error {
			v, err := w.m.Home.LoadVM("c")
			v.Unannounced = &home.Announcement{Event: "clone", Identity: true}
			err = errors.Join(err, w.m.Home.SaveVM(w.dir("c"), v), w.m.Stop(t.Context(), "c", true), w.m.Start(t.Context(), "c"))
			s, lookErr := w.m.look("c", "exec")
			return errors.Join(err, lookErr, s.introduce(t.Context(), time.Minute))
		}, []string{"start", "agent ping", "agent restored"}},
	} {
		w.fake.Reset()
		if err := tt.do(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		got := w.fake.Calls()
		slices.Sort(got)
		slices.Sort(tt.want)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestWarm makes VMs of one kind: the first is booted and becomes a template, the second is restored from that, and a
// template that does not load is booted instead and removed.
func TestWarm(t *testing.T) {
	w := newWorld(t)
	w.m.Config.Warm = ""
	create := func(name string, want string) {
		t.Helper()
		w.fake.Reset()
		must(t, w.m.Create(t.Context(), CreateOptions{Name: name, Wait: time.Minute}))
		if got := w.fake.Calls(); !slices.Contains(got, want) {
			t.Errorf("%s: %v, without %q", name, got, want)
		}
	}
	create("a", "snapshot")
	create("b", "load")
	keys := w.m.Home.Templates()
	if len(keys) != 1 {
		t.Fatalf("templates: %v", keys)
	}
	must(t, os.Chmod(filepath.Join(w.m.Home.TemplateDir(keys[0]), "memory.snap"), 0o600))
	must(t, os.WriteFile(filepath.Join(w.m.Home.TemplateDir(keys[0]), "memory.snap"), []byte("forged"), 0o600))
	create("c", "start")
	if got := vmtest.Memory(w.dir("c")); got != "booted" {
		t.Errorf("a forged template gave a VM the memory %q", got)
	}
	create("d", "load")
	_, err := w.m.PruneCache(t.Context())
	must(t, err)
	create("e", "start")
}

// TestRefused has each verb refuse what it cannot do, by its kind, before the driver is asked for anything.
func TestRefused(t *testing.T) {
	w := newWorld(t, false)
	must(t, w.m.Stop(t.Context(), "a", true))
	for _, tt := range []struct {
		name string
		kind error
		do   func(context.Context) error
	}{
		{"create with a taken name", errs.ErrExists, func(ctx context.Context) error { return w.m.Create(ctx, CreateOptions{Name: "a"}) }},
		{"create with no name", errs.ErrUsage, func(ctx context.Context) error { return w.m.Create(ctx, CreateOptions{Name: "../x"}) }},
		{"create with no driver", errs.ErrUsage, func(ctx context.Context) error { return w.m.Create(ctx, CreateOptions{Name: "b", Driver: "x"}) }},
		{"create without a kernel", errs.ErrNotFound, func(ctx context.Context) error { return w.m.Create(ctx, CreateOptions{Name: "b", Kernel: "/none"}) }},
		{"checkpoint of a stopped VM", errs.ErrState, func(ctx context.Context) error { _, err := w.m.Checkpoint(ctx, "a", ""); return err }},
		{"pause of a stopped VM", errs.ErrState, func(ctx context.Context) error { return w.m.Pause(ctx, "a") }},
		{"resume of a stopped VM", errs.ErrState, func(ctx context.Context) error { return w.m.Resume(ctx, "a") }},
		{"exec in a stopped VM", errs.ErrState, func(ctx context.Context) error {
			_, err := w.m.Exec(ctx, "a", Command{Argv: []string{"x"}}, Streams{})
			return err
		}},
		{"cp into a stopped VM", errs.ErrState, func(ctx context.Context) error {
			return w.m.Copy(ctx, []Place{{Path: "/x"}}, Place{VM: "a", Path: "/x"}, CopyOptions{})
		}},
		{"exec in no VM", errs.ErrNotFound, func(ctx context.Context) error {
			_, err := w.m.Exec(ctx, "b", Command{Argv: []string{"x"}}, Streams{})
			return err
		}},
		{"restore of no checkpoint", errs.ErrNotFound, func(ctx context.Context) error { return w.m.Restore(ctx, "a", "deadbeef", RestoreOptions{}) }},
		{"destroy of no VM", errs.ErrNotFound, func(ctx context.Context) error { _, err := w.m.Destroy(ctx, "b", false); return err }},
		{"logs of a VMM that never ran", errs.ErrNotFound, func(ctx context.Context) error {
			os.Remove(filepath.Join(w.dir("a"), "fake.log"))
			return w.m.Logs(ctx, "a", LogOptions{VMM: true}, &bytes.Buffer{})
		}},
	} {
		w.fake.Reset()
		if err := tt.do(t.Context()); !errors.Is(err, tt.kind) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if calls := w.fake.Calls(); len(calls) > 0 {
			t.Errorf("%s: the driver was asked to %v", tt.name, calls)
		}
	}
	if got := w.look(); got != `vm a is stopped, memory ""` {
		t.Error(got)
	}
}
