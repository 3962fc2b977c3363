package firecracker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"noid/internal/proc"
	"noid/internal/vmm"
)

// Load implements vmm.Driver.
func (d *Driver) Load(ctx context.Context, dir string, m *vmm.Machine, s vmm.Saved) (proc.Process, error) {
	ctx, cancel := bounded(ctx, startTimeout)
	defer cancel()
	if err := vmm.CheckMemory(dir, m.MemMiB); err != nil {
		return proc.Process{}, fmt.Errorf("loading the snapshot: %w", err)
	}
	s.Touched.ReadAhead(dir, vmm.MemorySnap)
	load := func(clock bool) (*vmm.Child, error) {
		return d.launch(ctx, dir, m, func(v version) []request { return []request{loadRequest(v, clock && v.setsClock())} })
	}
	child, err := load(true) // a version that can moves the guest's kvm-clock on to the present
	if clockRefused(err) {
		child, err = load(false) // by a new process: a failed load has ended that one
	}
	if err != nil {
		return proc.Process{}, fmt.Errorf("loading the snapshot: %w", err)
	}
	setBase(dir, filepath.Join(dir, vmm.MemorySnap)) // without one the next snapshot is Full
	return child.Process, nil
}

// clockRefused tells the refusal of clock_realtime ("clock_realtime requested but not present in the snapshot state",
// where the snapshot's host had no stable clock source) from others. KVM's own refusal of the flag speaks of the clock
// too.
func clockRefused(err error) bool {
	refused, ok := errors.AsType[*apiError](err)
	return ok && strings.Contains(strings.ToLower(refused.fault), "clock")
}
