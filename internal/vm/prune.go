package vm

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"noid/internal/errs"
	"noid/internal/guest"
	"noid/internal/vmm"
)

// pruneAge is how long a kernel or initramfs that noid made and no record names is kept for the next 'create'.
const pruneAge = 24 * time.Hour

// prune deletes the kernels and initramfs in the home that no VM and no checkpoint boots from any more. It is a courtesy:
// failing is no failure.
func (m *Manager) prune(ctx context.Context) {
	used, err := m.used(ctx)
	if err != nil { // of a broken record nobody knows what it needs
		return
	}
	guest.Prune(m.Home.KernelsDir(), func(path string) bool { return used[filepath.Base(path)] }, pruneAge)
}

// used returns the names, without their directories as a home may be reached by several paths, of the files that VMs and
// checkpoints boot from. The error is a record's that cannot be read.
func (m *Manager) used(ctx context.Context) (map[string]bool, error) {
	used := map[string]bool{}
	add := func(machine vmm.Machine) {
		used[filepath.Base(machine.KernelPath)], used[filepath.Base(machine.InitrdPath)] = true, true
	}
	addVMs := func() error {
		vms, err := m.Home.ListVMs(ctx)
		for _, v := range vms {
			add(v.Machine)
			err = errors.Join(err, v.Err)
		}
		return err
	}
	if err := addVMs(); err != nil {
		return nil, err
	}
	for _, key := range m.Home.Templates() {
		if c, err := m.Home.ReadCheckpoint(m.Home.TemplateDir(key)); err == nil {
			add(c.Machine)
		}
	}
	owners, err := m.Home.CheckpointOwners() // a destroyed VM's checkpoints are there too
	if err != nil {
		return nil, err
	}
	for _, owner := range owners {
		list, err := m.Home.ListCheckpoints(ctx, owner)
		if err != nil && !errors.Is(err, errs.ErrNotFound) { // forgotten since
			return nil, err
		}
		for _, c := range list {
			if c.Err != nil {
				return nil, c.Err
			}
			add(c.Machine)
		}
	}
	return used, addVMs() // again: a checkpoint may have been restored and forgotten in between
}
