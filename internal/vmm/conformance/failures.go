package conformance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noid/internal/errs"
	"noid/internal/proc"
	"noid/internal/vmm"
)

// testErrors makes Start and Load fail, and looks at what they say and leave.
func testErrors(t *testing.T, h Harness) {
	t.Run("BinaryMissing", func(t *testing.T) {
		vm := newMachine(t, h, h.Guest.RootfsPath)
		if _, err := h.Missing.Version(t.Context()); !errors.Is(err, errs.ErrHost) {
			t.Errorf("Version: %v, want one of %v", err, errs.ErrHost)
		}
		_, err := h.Missing.Start(limit(t, stepLimit), vm.dir, &vm.m)
		if !errors.Is(err, errs.ErrHost) || errs.Hint(err) == "" {
			t.Errorf("Start: %v, hint %q; want one of %v with a hint", err, errs.Hint(err), errs.ErrHost)
		}
	})
	t.Run("KernelJunk", func(t *testing.T) {
		vm := newMachine(t, h, h.Guest.RootfsPath)
		vm.m.KernelPath = filepath.Join(t.TempDir(), "junk")
		if err := os.WriteFile(vm.m.KernelPath, []byte(strings.Repeat("no kernel\n", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		failsWith(t, vm, "kernel", h.Driver.Start)
	})
	t.Run("KernelMissing", func(t *testing.T) {
		vm := newMachine(t, h, h.Guest.RootfsPath)
		vm.m.KernelPath = filepath.Join(t.TempDir(), "none")
		failsWith(t, vm, "none", h.Driver.Start)
	})
	t.Run("NobodyListens", func(t *testing.T) {
		vm := newMachine(t, h, h.Guest.RootfsPath)
		if _, err := h.Driver.State(t.Context(), vm.dir); err == nil {
			t.Error("State where no VMM runs: no error")
		}
	})
}

// testCancel ends the context in the middle of Start and Load, and damages what Load reads.
func testCancel(t *testing.T, h Harness) {
	source := newMachine(t, h, h.Guest.RootfsPath)
	moments := []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond, 160 * time.Millisecond}
	for _, after := range moments {
		p, err := h.Driver.Start(cancelled(t, after), source.dir, &source.m)
		t.Logf("Start cancelled after %v: %v", after, err)
		if err == nil {
			source.p = p
			if err := p.Kill(limit(t, stepLimit)); err != nil {
				t.Fatal(err)
			}
		}
		wantNoProcess(t, source)
	}
	p, err := h.Driver.Start(limit(t, stepLimit), source.dir, &source.m)
	if err != nil {
		t.Fatalf("Start after cancelled ones: %v", err)
	}
	source.p = p
	source.tell(t, vmm.Pause)
	checkpoint := source.checkpoint(t)
	if err := source.p.Kill(limit(t, stepLimit)); err != nil {
		t.Fatal(err)
	}
	clone := source.placed(t, checkpoint)
	for _, after := range moments {
		p, err := h.Driver.Load(cancelled(t, after), clone.dir, &clone.m, vmm.Saved{})
		t.Logf("Load cancelled after %v: %v", after, err)
		if err == nil {
			clone.p = p
			if err := p.Kill(limit(t, stepLimit)); err != nil {
				t.Fatal(err)
			}
		}
		wantNoProcess(t, clone)
	}
	clone.loadPaused(t) // what was cancelled does not stand in the way
	if err := clone.p.Kill(limit(t, stepLimit)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, file string
		keep       int64 // percent of its length
	}{
		{"StateCut", vmm.StateSnap, 50},
		{"StateEmpty", vmm.StateSnap, 0},
		{"MemoryCut", vmm.MemorySnap, 50},
	} {
		t.Run(test.name, func(t *testing.T) {
			cut := source.placed(t, checkpoint)
			cutFile(t, filepath.Join(cut.dir, test.file), test.keep)
			failsWith(t, cut, "", func(ctx context.Context, dir string, m *vmm.Machine) (proc.Process, error) {
				return h.Driver.Load(ctx, dir, m, vmm.Saved{GuestUp: true})
			})
		})
	}
}

// failsWith checks that Start or Load fails, names what (in lower or upper case) and leaves no process.
func failsWith(t *testing.T, vm *machine, what string, f startFunc) {
	t.Helper()
	p, err := f(limit(t, stepLimit), vm.dir, &vm.m)
	if err == nil {
		vm.p = p
		t.Fatal("no error")
	}
	t.Logf("the error: %v", err)
	if !strings.Contains(strings.ToLower(err.Error()), what) {
		t.Errorf("the error does not name %q: %v", what, err)
	}
	if strings.ContainsAny(err.Error(), "\x00\x1b\r\n") {
		t.Errorf("the error is not printable: %q", err)
	}
	wantNoProcess(t, vm)
}

// cutFile replaces a file (a hard link, perhaps) by the first percent of it.
func cutFile(t *testing.T, path string, percent int64) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:int64(len(data))*percent/100], 0o600); err != nil {
		t.Fatal(err)
	}
}

// startFunc is Start or Load.
type startFunc = func(ctx context.Context, dir string, m *vmm.Machine) (proc.Process, error)
