package vm

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
	"noid/internal/store"
	"noid/internal/vmm"
)

// keepBackups is how many automatic checkpoints from before restores a VM keeps.
const keepBackups = 3

// backupLabel marks those checkpoints.
const backupLabel = "before restore to "

// RestoreOptions say what Restore does: As empty for in place; Backup keeps the present as a checkpoint first.
type RestoreOptions struct {
	As           string
	Backup       bool
	KeepIdentity bool // a clone stays its source's twin
}

// Restore makes a running VM from a checkpoint. In place, the old VM runs until the new one does, and runs on if that fails.
func (m *Manager) Restore(ctx context.Context, name, ref string, o RestoreOptions) error {
	target := name
	if o.As != "" {
		target = o.As
	}
	for _, n := range []string{name, target} {
		if err := store.CheckName(n); err != nil {
			return err
		}
	}
	for _, n := range lockOrder(name, target) {
		lock, err := m.Home.Lock(ctx, n, "restore")
		if err != nil {
			return err
		}
		defer lock.Unlock()
	}
	c, err := m.Home.FindCheckpoint(ctx, name, ref)
	if err != nil {
		return err
	}
	if err := m.check(ctx, c, false, nil); err != nil {
		return err
	}
	c.Boots = m.rehome(&c.Machine, c.Boots)
	if err := m.loadable(ctx, c); err != nil {
		return err
	}
	d, err := m.Driver(c.Machine.Driver)
	if err != nil {
		return err
	}
	old, err := m.load(target)
	exists := !errors.Is(err, errs.ErrNotFound)
	if _, broken := errors.AsType[*store.BrokenError](err); err != nil && exists && !broken {
		return err
	}
	if exists && o.As != "" {
		return errs.WithHint(errs.Mark(fmt.Errorf("vm %q already exists", target), errs.ErrExists), "choose another name, or 'noid destroy "+target+"' first")
	}
	keep := func() error { return nil }
	if exists && o.Backup && err == nil {
		ran := old.Process.Alive()
		keep = func() error {
			err := m.backup(ctx, old, c)
			if ran {
				err = ended(old, err)
			}
			return err
		}
	}
	v := store.VM{Name: target, CreatedAt: time.Now().UTC(), Machine: c.Machine, RestoredFrom: c.VM + "@" + c.ID, SourceKernel: c.SourceKernel, SourceRootfs: c.SourceRootfs,
		Boots: c.Boots, AgentVersion: c.AgentVersion}
	if exists && !old.CreatedAt.IsZero() {
		v.CreatedAt = old.CreatedAt
	}
	if c.Memory && c.Machine.Agent {
		v.Unannounced = &store.Announcement{Event: "restore"}
		if o.As != "" {
			v.Unannounced = &store.Announcement{Event: "clone", Identity: !o.KeepIdentity}
		}
	}
	if err := m.revive(ctx, d, c, &v, old, exists, keep); err != nil {
		return fmt.Errorf("restoring %s@%s: %w", c.VM, c.ID, err)
	}
	if c.AgentReady {
		m.notTold(target, m.announce(ctx, &v))
	}
	return nil
}

func lockOrder(a, b string) []string {
	switch {
	case a == b:
		return []string{a}
	case a < b:
		return []string{a, b}
	}
	return []string{b, a}
}

// backup keeps the present of v as a checkpoint and forgets the oldest such ones beyond keepBackups, but never c.
func (m *Manager) backup(ctx context.Context, v store.VM, c store.Checkpoint) error {
	d, err := m.Driver(v.Machine.Driver)
	if err != nil {
		return err
	}
	if _, err := m.checkpoint(ctx, d, v, certain(ctx, d, m.Home.VMDir(v.Name), v), backupLabel+c.ID); err != nil {
		return errs.WithHint(err, "--no-backup restores without keeping the present")
	}
	list, err := m.Home.ListCheckpoints(ctx, v.Name)
	if err != nil {
		return err
	}
	seen := 0
	for i := len(list) - 1; i >= 0; i-- {
		if l := list[i]; l.Err == nil && len(l.Label) > len(backupLabel) && l.Label[:len(backupLabel)] == backupLabel && l.ID != c.ID {
			if seen++; seen > keepBackups {
				if err := m.remove(v.Name, l.ID); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// revive starts v from c in a directory aside and puts it in its place once it runs. Whatever the VMM refuses, it refuses
// before keep, which keeps the present, and before the old VM is touched.
func (m *Manager) revive(ctx context.Context, d Driver, c store.Checkpoint, v *store.VM, old store.VM, exists bool, keep func() error) (err error) {
	from, staging, dir := m.Home.CheckpointDir(c.VM, c.ID), m.Home.StagingDir(v.Name), m.Home.VMDir(v.Name)
	defer func() {
		if err != nil {
			end, cancel := settle(ctx)
			defer cancel()
			v.Process.Kill(end)
			storage.RemoveAll(staging)
		}
	}()
	if err := m.stage(ctx, staging, filepath.Join(from, vmm.RootfsFile)); err != nil {
		return err
	}
	if _, err := storage.Clone(ctx, filepath.Join(staging, vmm.SerialLogFile), filepath.Join(from, vmm.SerialLogFile)); err != nil {
		return err
	}
	if c.Memory {
		for _, file := range []string{vmm.MemorySnap, vmm.StateSnap} {
			// The very inode of the checkpoint: clones share its page cache, and it outlives 'noid forget'.
			if err := link(ctx, filepath.Join(staging, file), filepath.Join(from, file)); err != nil {
				return err
			}
		}
		if v.Process, err = d.Load(ctx, staging, &v.Machine); err != nil {
			err = notLoaded(ctx, d, c, err)
		}
	} else {
		v.Process, err = d.Start(ctx, staging, &v.Machine)
	}
	if err != nil {
		return err
	}
	if err := keep(); err != nil {
		return fmt.Errorf("keeping the present state: %w", err)
	}
	m.help(staging, v.Process) // it stays in the directory when that is renamed
	if err := m.Home.SaveVM(staging, *v); err != nil {
		return err
	}
	if c.Memory {
		if err := d.Tell(ctx, staging, vmm.Resume); err != nil {
			return err
		}
		for _, file := range []string{vmm.MemorySnap, vmm.StateSnap} { // the VMM has them open or no longer needs them
			os.Remove(filepath.Join(staging, file))
		}
	}
	if !exists {
		if err := publish(staging, dir); err != nil {
			return err
		}
		return nil
	}
	if err := storage.Exchange(staging, dir); err != nil {
		return err
	}
	end, cancel := settle(ctx) // the new VM stands: what is left is removing the old one, now in staging
	defer cancel()
	victim := old.Process
	if !victim.Alive() { // or its record was damaged
		victim, _ = stray(staging)
	}
	if e := errors.Join(victim.Kill(end), storage.RemoveAll(staging)); e != nil {
		m.warn("removing the old vm: " + e.Error()) // Sweep tries again at the next command
	}
	return nil
}

func link(ctx context.Context, dst, src string) error {
	err := os.Link(src, dst)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EPERM) {
		_, err = storage.Clone(ctx, dst, src)
	}
	return err
}
