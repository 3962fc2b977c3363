package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"time"

	"noid/internal/boot"
	"noid/internal/checkpoint"
	"noid/internal/disk"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// pruneAge is how long a kernel or initramfs that noid made and no record names is kept for the next 'create'.
const pruneAge = 24 * time.Hour

// PruneCache removes all templates, the whole memories of packed checkpoints, the kernels and initramfs that noid made and
// no VM and no checkpoint boots from, and the empty disks that new VMs of images get. It returns how many bytes of disk
// that has freed. Nobody changes anything in the home meanwhile: errs.ErrBusy is that somebody does.
func (m *Manager) PruneCache(ctx context.Context) (freed int64, err error) {
	m.beginChange(ctx, "prune")
	lock, err := home.LockAll(ctx, m.Home.Dir(), "prune", home.LockWait)
	if err != nil {
		return 0, err
	}
	defer lock.Unlock()
	before := m.cacheBytes(ctx)
	freed = m.dropSpare()
	err = m.pruneUnused(ctx, 0)
	return freed + before - m.cacheBytes(ctx) + disk.RemoveEmpty(m.Home.ImagesDir()), err
}

// dropSpare removes what is there for speed alone: templates, and the whole memories of packed checkpoints. It returns how
// many bytes of disk the latter had.
func (m *Manager) dropSpare() (freed int64) {
	m.DropTemplates()
	owners, _ := m.Home.CheckpointOwners()
	for _, name := range owners {
		freed += checkpoint.DropWhole(m.Home.CheckpointsDir(name))
	}
	return freed
}

// cacheBytes is what kernels and templates have of the disk that nothing else has.
func (m *Manager) cacheBytes(ctx context.Context) int64 {
	var all Occupied
	for _, dir := range []string{m.Home.KernelsDir(), m.Home.TemplatesRoot()} {
		if o, err := storage.Occupy(ctx, dir, nil); err == nil {
			all.Add(o)
		}
	}
	return all.Own()
}

// pruneKernels removes what pruneUnused does, if it is old. It is a courtesy: failing is no failure.
func (m *Manager) pruneKernels(ctx context.Context) { m.pruneUnused(ctx, pruneAge) }

// pruneUnused deletes the kernels and initramfs in the home that no VM and no checkpoint boots from any more, and that
// were not used for olderThan. It reads records until each such file was named, most often one record. The error is a
// record's that cannot be read: then all stay.
func (m *Manager) pruneUnused(ctx context.Context, olderThan time.Duration) error {
	next, stop := iter.Pull2(m.machines())
	defer stop()
	// By their names without their directories, as a home may be reached by several paths.
	used, unknown := map[string]bool{}, error(nil)
	keep := func(path string) bool {
		for unknown == nil && !used[filepath.Base(path)] {
			machine, err, more := next()
			if !more {
				return false
			}
			unknown = cmp.Or(err, ctx.Err()) // of a broken record nobody knows what it needs
			used[filepath.Base(machine.KernelPath)], used[filepath.Base(machine.InitrdPath)] = true, true
		}
		return true
	}
	err := boot.Prune(m.Home.KernelsDir(), keep, olderThan)
	if unknown != nil {
		return fmt.Errorf("kernels stay that may be needed: %w", unknown)
	}
	return err
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
