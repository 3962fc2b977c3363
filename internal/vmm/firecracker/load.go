package firecracker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"noid/internal/proc"
	"noid/internal/vmm"
)

// Load implements vmm.Driver.
func (d *Driver) Load(ctx context.Context, dir string, m *vmm.Machine, _ vmm.Saved) (proc.Process, error) {
	ctx, cancel := bounded(ctx, startTimeout)
	defer cancel()
	if err := vmm.CheckMemory(dir, m.MemMiB); err != nil {
		return proc.Process{}, fmt.Errorf("loading the snapshot: %w", err)
	}
	child, err := d.loadOnce(ctx, dir, m, true)
	if clockRefused(err) {
		// Each failed load ends the process, so this takes a new one.
		child, err = d.loadOnce(ctx, dir, m, false)
	}
	if err != nil {
		return proc.Process{}, err
	}
	setBase(dir, filepath.Join(dir, vmm.MemorySnap)) // without one the next snapshot is Full
	return child.Process, nil
}

// loadOnce loads with one process. With clock, a version that can moves the guest's kvm-clock on to the present.
func (d *Driver) loadOnce(ctx context.Context, dir string, m *vmm.Machine, clock bool) (*vmm.Child, error) {
	return d.launch(ctx, dir, m, func(ctx context.Context, c *client, v version) error {
		for _, r := range append(beforeAll(v), loadRequest(v, clock && v.setsClock())) {
			if err := c.call(ctx, startTimeout, http.MethodPut, r.path, r.body, nil); err != nil {
				return fmt.Errorf("loading the snapshot: %w", err)
			}
		}
		m.DriverVersion = v.text
		return nil
	})
}

// clockRefused tells the refusal of clock_realtime ("clock_realtime requested but not present in the snapshot state",
// where the snapshot's host had no stable clock source) from others. KVM's own refusal of the flag speaks of the clock too.
func clockRefused(err error) bool {
	refused, ok := errors.AsType[*apiError](err)
	return ok && strings.Contains(strings.ToLower(refused.fault), "clock")
}
