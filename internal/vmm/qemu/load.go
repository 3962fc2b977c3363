package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network/space"
	"noid/internal/proc"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// Load implements vmm.Driver. The snapshot's memory is cloned, or taken where it is nobody else's, not mapped: the
// running guest writes to its copy, and can be snapshotted again as cheaply as one that was booted.
func (d *Driver) Load(ctx context.Context, dir string, m *vmm.Machine, s vmm.Saved) (proc.Process, error) {
	if err := d.CanLoad(*m); err != nil {
		return proc.Process{}, err
	}
	state, err := untrusted.Open(dir, vmm.StateSnap, unix.O_RDONLY)
	if err != nil {
		return proc.Process{}, fmt.Errorf("opening device state: %w", err)
	}
	defer state.Close()
	if err := vmm.CheckMemory(dir, m.MemMiB); err != nil {
		return proc.Process{}, err
	}
	memory, from, err := loadMemory(dir, m.MemMiB, s.OwnMemory)
	if err != nil {
		return proc.Process{}, err
	}
	ctx, cancel := bounded(ctx, startTimeout+migrateTimeout)
	// QEMU maps the memory when it starts, and looks at it only once it is told to load.
	var filled sync.WaitGroup
	var fillErr error
	filled.Go(func() { _, fillErr = fillMemory(ctx, memory, from, m.MemMiB, s.Touched) })
	defer func() {
		cancel()
		filled.Wait()
	}()
	emulated := m.Hardware[hwAccel] == "tcg"
	if !emulated { // not shown to be sound with KVM
		if filled.Wait(); fillErr != nil {
			return proc.Process{}, fillErr
		}
	}
	machine := *m
	if s.GuestUp && emulated { // likewise
		defer vmm.Remove(dir, stubKernel, stubInitrd)
		if err := stub(dir, &machine); err != nil {
			return proc.Process{}, fmt.Errorf("making a stub of the kernel: %w", err)
		}
	}
	child, c, err := d.launch(ctx, dir, &machine, true)
	m.DriverVersion = machine.DriverVersion
	if space.Missing(err) { // the guest leaves checksums and segments to the device, which one of a pair could not do
		err = fmt.Errorf("its network device was saved on a tap: %w", err)
	}
	if err != nil {
		cancel()
		if filled.Wait(); fillErr != nil && !errors.Is(fillErr, context.Canceled) { // QEMU missed its memory's file
			err = fillErr
		}
		return proc.Process{}, err
	}
	defer c.close()
	if filled.Wait(); fillErr != nil {
		child.Abort()
		return proc.Process{}, fillErr
	}
	if err := c.load(ctx, state, child); err != nil {
		child.Abort()
		return proc.Process{}, explain(fmt.Errorf("loading device state: %w", err), dir, m)
	}
	return child.Process, nil
}

// load has a QEMU that waits for an incoming migration read its device state from f.
func (c *client) load(ctx context.Context, f *os.File, child *vmm.Child) error {
	err := c.migrate(incoming, f)
	for err == nil {
		var status string
		if status, err = c.status(); err == nil && status != "inmigrate" {
			if status == "paused" || status == "prelaunch" {
				return nil
			}
			return fmt.Errorf("qemu's status is %q", untrusted.End([]byte(status), 40))
		}
		if err == nil {
			_, err = c.migration()
		}
		if err == nil {
			err = vmm.Sleep(ctx, pollEvery)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// QEMU exits when it cannot read the state. Its closed socket is seen before its end.
	var refused *qmpError
	if !errors.As(err, &refused) {
		if ended := child.Ended(ctx, 5*time.Second); ended != nil { // else it hung up and lives: the caller ends it
			return ended
		}
	}
	return err
}
