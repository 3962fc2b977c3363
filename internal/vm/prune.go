package vm

import (
	"context"
	"errors"
	"iter"
	"path/filepath"
	"time"

	"noid/internal/boot"
	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/vmm"
)

// pruneAge is how long a kernel or initramfs that noid made and no record names is kept for the next 'create'.
const pruneAge = 24 * time.Hour

// pruneKernels deletes the kernels and initramfs in the home that no VM and no checkpoint boots from any more. It is a
// courtesy: failing is no failure. It reads records until each file that is old enough was named, most often one
// record.
func (m *Manager) pruneKernels(ctx context.Context) {
	next, stop := iter.Pull2(m.machines())
	defer stop()
	// By their names without their directories, as a home may be reached by several paths.
	used, unknown := map[string]bool{}, false
	keep := func(path string) bool {
		for !unknown && !used[filepath.Base(path)] {
			machine, err, more := next()
			if !more {
				return false
			}
			unknown = err != nil || ctx.Err() != nil // of a broken record nobody knows what it needs
			used[filepath.Base(machine.KernelPath)], used[filepath.Base(machine.InitrdPath)] = true, true
		}
		return true
	}
	boot.Prune(m.Home.KernelsDir(), keep, pruneAge)
}

// machines goes over all VMs and checkpoints, and the VMs again: a checkpoint may have been restored and forgotten in
// between. The error is a record's that cannot be read.
func (m *Manager) machines() iter.Seq2[vmm.Machine, error] {
	return func(yield func(vmm.Machine, error) bool) {
		gone := func(err error) bool { return errors.Is(err, errs.ErrNotFound) } // destroyed or forgotten since
		vms := func() bool {
			names, err := m.Home.VMNames()
			if err != nil {
				return yield(vmm.Machine{}, err)
			}
			for _, name := range names {
				if v, err := m.Home.LoadVM(name); !gone(err) && !yield(v.Machine, err) {
					return false
				}
			}
			return true
		}
		if !vms() {
			return
		}
		for _, key := range m.Home.Templates() {
			if c, err := checkpoint.ReadAny(m.Home.TemplateDir(key)); err == nil && !yield(c.Machine, nil) {
				return
			}
		}
		owners, err := m.Home.CheckpointOwners() // a destroyed VM's checkpoints are there too
		if err != nil && !yield(vmm.Machine{}, err) {
			return
		}
		for _, owner := range owners {
			ids, err := m.Home.CheckpointIDs(owner)
			if err != nil && !gone(err) && !yield(vmm.Machine{}, err) {
				return
			}
			for _, id := range ids {
				if c, err := m.Home.LoadCheckpoint(owner, id); !gone(err) && !yield(c.Machine, err) {
					return
				}
			}
		}
		vms()
	}
}
