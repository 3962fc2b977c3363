package home

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// strayAge is the age at which a staging directory whose name tells no VM is nobody's any more.
const strayAge = time.Hour

// Sweep removes what killed commands left: staging directories of VMs and checkpoints whose lock is free, and the VMMs
// that run in them. It ends renames, and removes the VMs of leases whose process has ended. It waits for nobody, and
// goes on after an error. It looks at nothing else in the home. verb is as in Lock: the one that the user typed.
func (h *Home) Sweep(ctx context.Context, verb string) error {
	names, err := subdirs(h.StagingRoot())
	if err != nil {
		return fmt.Errorf("sweeping: %w", err)
	}
	var problems []error
	for _, base := range names {
		dir := filepath.Join(h.StagingRoot(), base)
		if strings.HasPrefix(base, renamePrefix) {
			problems = append(problems, h.sweepRename(ctx, base, verb))
		} else if strings.HasPrefix(base, leasePrefix) {
			problems = append(problems, h.sweepLease(ctx, base, verb))
		} else if vm, ok := stagedVM(base); ok {
			problems = append(problems, h.sweep(ctx, vm, dir, verb))
		} else if info, err := os.Lstat(dir); err == nil && time.Since(info.ModTime()) > strayAge {
			problems = append(problems, storage.RemoveAll(dir))
		}
	}
	return errors.Join(append(problems, h.sweepTemplates())...)
}

// sweep removes the staging directory dir of vm, unless vm is locked.
func (h *Home) sweep(ctx context.Context, vm, dir, verb string) error {
	lock, err := h.lockWithin(ctx, vm, verb, 0)
	if errors.Is(err, errs.ErrBusy) {
		return nil
	} else if err != nil {
		return err
	}
	defer lock.Unlock()
	wait, err := h.killIn(ctx, vm, dir)
	inner := vmsWithin(dir)
	for _, d := range inner {
		for _, p := range vmm.FindIn(d) {
			wait, err = vmm.EndingWait, errors.Join(err, p.Kill(ctx))
		}
	}
	if err != nil {
		return fmt.Errorf("sweeping %s: %w", dir, err) // removing the files under a live VMM would only hide it
	}
	for _, d := range append(inner, dir) {
		if vmm.Elsewhere(d, wait) { // so would this: a noid there sweeps it, or any once it has ended
			return nil
		}
	}
	return errors.Join(checkpoint.Reclaim(h.CheckpointsDir(vm), nil), storage.RemoveAll(dir))
}

// vmsWithin returns where VMMs may run in a home of its own, which 'noid selftest' has in the staging area.
func vmsWithin(dir string) (found []string) {
	for _, kind := range []string{vmsDir, stagingDir} {
		at := filepath.Join(dir, StorageDir, kind)
		names, _ := subdirs(at)
		for _, name := range names {
			found = append(found, filepath.Join(at, name))
		}
	}
	return found
}

// killIn kills the VMMs of the leftover directory dir of vm: the one recorded there, unless it is the published VM's,
// and any that was not recorded yet, there or, by 'start', in the VM's own directory. It returns how long they may take
// to be gone.
func (h *Home) killIn(ctx context.Context, vm, dir string) (wait time.Duration, err error) {
	victims := vmm.FindIn(dir)
	published, err := h.LoadVM(vm)
	known := err == nil
	if known && !published.Process.Alive() {
		victims = append(victims, vmm.FindIn(h.VMDir(vm))...)
	}
	left, _, err := readVM(dir, vm)
	// A restore stages a copy of the record, and was perhaps killed before it put a process of its own there.
	if err == nil && left.Process.In(dir) && !(known && published.Process == left.Process) {
		victims = append(victims, left.Process)
	}
	var problems []error
	for _, p := range victims {
		problems, wait = append(problems, p.Kill(ctx)), vmm.EndingWait
	}
	return wait, errors.Join(problems...)
}
