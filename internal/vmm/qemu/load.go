package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// Load implements vmm.Snapshotter. The snapshot's memory is cloned, not mapped: the running guest writes to its copy, and
// can be snapshotted again as cheaply as one that was booted.
func (d *Driver) Load(ctx context.Context, dir string, m *vmm.Machine, booted bool) (vmm.Process, error) {
	if err := d.checkHardware(m.Hardware); err != nil {
		return vmm.Process{}, err
	}
	state, err := vmm.OpenIn(dir, vmm.StateSnap, unix.O_RDONLY)
	if err != nil {
		return vmm.Process{}, fmt.Errorf("opening device state: %w", err)
	}
	defer state.Close()
	if err := cloneMemory(ctx, dir, m.MemMiB); err != nil {
		return vmm.Process{}, err
	}
	ctx, cancel := bounded(ctx, startTimeout+migrateTimeout)
	defer cancel()
	machine := *m
	if booted {
		defer removeStubs(dir)
		if err := stub(dir, &machine); err != nil {
			return vmm.Process{}, fmt.Errorf("making a stub of the kernel: %w", err)
		}
	}
	child, c, err := d.launch(ctx, dir, &machine, true)
	m.DriverVersion = machine.DriverVersion
	if err != nil {
		return vmm.Process{}, err
	}
	defer c.close()
	if err := c.load(ctx, state, child); err != nil {
		child.Abort()
		return vmm.Process{}, explain(fmt.Errorf("loading device state: %w", err), dir, m)
	}
	return child.Process, nil
}

// cloneMemory makes dir/memory of dir/memory.snap, which must be as long as the guest's memory: QEMU takes a longer file
// without a word.
func cloneMemory(ctx context.Context, dir string, mib int) error {
	from, to := filepath.Join(dir, vmm.MemorySnap), filepath.Join(dir, vmm.MemoryFile)
	info, err := os.Lstat(from)
	if err != nil {
		return fmt.Errorf("opening saved memory: %w", err)
	}
	if info.Size() != int64(mib)<<20 {
		return fmt.Errorf("%w: %s is %d bytes long, a guest of %d MiB has %d", errs.ErrState, from, info.Size(), mib, int64(mib)<<20)
	}
	if err := remove(to); err != nil {
		return fmt.Errorf("removing old memory: %w", err)
	}
	method, err := storage.Clone(ctx, to, from)
	if err == nil && method == storage.Copy { // see makeMemory
		if _, err = storage.Reserve(ctx, to, info.Size()); err != nil {
			os.Remove(to)
		}
	}
	if err != nil {
		return fmt.Errorf("cloning saved memory: %w", err)
	}
	return nil
}

// load has a QEMU that waits for an incoming migration read its device state from f.
func (c *client) load(ctx context.Context, f *os.File, child *vmm.Child) error {
	err := c.prepare(f)
	if err == nil {
		err = c.do("migrate-incoming", map[string]any{"uri": "fd:" + fdName}, nil)
	}
	for err == nil {
		var status string
		if status, err = c.status(); err == nil && status != "inmigrate" {
			if status == "paused" || status == "prelaunch" {
				return nil
			}
			return fmt.Errorf("qemu's status is %q", vmm.Printable([]byte(status), 40))
		}
		if err == nil {
			_, err = c.migration()
		}
		if err == nil {
			err = sleep(ctx, pollEvery)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// QEMU exits when it cannot read the state. Its closed socket is seen before its end.
	var refused *qmpError
	if !errors.As(err, &refused) {
		select {
		case <-child.Exited():
			return fmt.Errorf("qemu gave up: %w", child.ExitError())
		case <-time.After(5 * time.Second): // it hung up and lives: the caller ends it
		}
	}
	return err
}
