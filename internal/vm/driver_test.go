package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"noid/internal/errs"
	"noid/internal/vm/vmtest"
	"noid/internal/vmm/conformance/tinyguest"
)

// TestDriverThatCannotRun has a driver that could not run a Linux guest here. Nothing is made, started or loaded. A
// guest that is no Linux is.
func TestDriverThatCannotRun(t *testing.T) {
	w := newWorld(t)
	ctx, linux := t.Context(), filepath.Join(t.TempDir(), "vmlinux")
	must(t, os.WriteFile(linux, append(tinyguest.Kernel(), "Linux version 6.1.0 (x) virtio_blk EXT4-fs"...), 0o600))
	for _, name := range []string{"stopped", "saved"} {
		must(t, w.m.Create(ctx, CreateOptions{Name: name, NoAgent: true, Kernel: linux}))
	}
	must(t, w.m.Stop(ctx, "stopped", true))
	_, err := w.m.Checkpoint(ctx, "saved", "memory")
	must(t, err)
	w.fake.Reset()
	w.m.Drivers = vmtest.Drivers{Fake: w.fake, Refuse: errs.New(errs.ErrHost, "no KVM")}
	for what, do := range map[string]func(context.Context) error{
		"create": func(ctx context.Context) error {
			return w.m.Create(ctx, CreateOptions{Name: "b", NoAgent: true, Kernel: linux})
		},
		"start":        func(ctx context.Context) error { return w.m.Start(ctx, "stopped") },
		"restore":      func(ctx context.Context) error { return w.m.Restore(ctx, "saved", "memory", RestoreOptions{}) },
		"restore --as": func(ctx context.Context) error { return w.m.Restore(ctx, "saved", "memory", RestoreOptions{As: "b"}) },
		"fork": func(ctx context.Context) error {
			_, err := w.m.Fork(ctx, "saved", "memory", ForkOptions{As: "b"}, func(string, error) {})
			return err
		},
	} {
		if err := do(ctx); !errors.Is(err, errs.ErrHost) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if calls := w.fake.Calls(); len(calls) > 0 {
		t.Errorf("the driver was asked to %v", calls)
	}
	must(t, w.m.Create(ctx, CreateOptions{Name: "tiny", NoAgent: true}))
}
