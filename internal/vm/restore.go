package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/manifest"
	"noid/internal/network"
	"noid/internal/vmm"
)

// keepBackups is how many automatic checkpoints from before restores a VM keeps.
const keepBackups = 3

// RestoreOptions say what Restore does.
type RestoreOptions struct {
	As           string           // the name of a new VM; empty restores in place
	NoBackup     bool             // in place: do not keep the present as a checkpoint first
	DiskOnly     bool             // boot its disk, and leave its memory
	KeepIdentity bool             // a clone keeps its source's hostname and machine-id
	Ports        [][]network.Port // a clone's; it has none of its source's
	Sockets      []network.Socket // likewise
	Secrets      []string         // likewise
	Networks     []string         // names of networks between VMs that a clone is on, beside its source's
	Note         Note             // kept with a clone
	// Kept, if set, is told the id of the checkpoint that a restore in place has made of the present.
	Kept func(id string)
	// undo and redo: it is one, after which these can be done again. try: a Try goes back.
	undo, redo, try bool
	left            []string
}

// Restore makes a running VM from the checkpoint of name that ref means. In place, the old VM runs until the new one
// does, and runs on if that fails.
func (m *Manager) Restore(ctx context.Context, name, ref string, o RestoreOptions) error {
	if err := m.beginFilling(ctx, "restore"); err != nil {
		return err
	}
	find := m.findCheckpoint
	if o.DiskOnly {
		find = m.findDisk
	}
	r, lock, err := find(ctx, name, ref, "restore")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if o.As != "" {
		r.ports, r.sockets, r.grants, r.networks = o.Ports, o.Sockets, o.Secrets, o.Networks
		r.noticePorts()
		_, err = r.clone(ctx, home.VM{Name: o.As, RestoredFrom: r.c.VM + "@" + r.c.ID, Note: o.Note}, o.KeepIdentity)
	} else {
		err = r.inPlace(ctx, o)
	}
	if err != nil && !errors.Is(err, errs.ErrExists) {
		err = fmt.Errorf("restoring %s@%s: %w", r.c.VM, r.c.ID, err)
	}
	return err
}

// findCheckpoint locks name for verb and returns its checkpoint ref, if it is whole and can be loaded here.
func (m *Manager) findCheckpoint(ctx context.Context, name, ref, verb string) (source, *home.Lock, error) {
	return m.find(ctx, name, ref, verb, whole)
}

// whole changes nothing of what find finds.
func whole(*checkpoint.Record) {}

// findDisk is findCheckpoint of the disk alone.
func (m *Manager) findDisk(ctx context.Context, name, ref, verb string) (source, *home.Lock, error) {
	return m.find(ctx, name, ref, verb, func(c *checkpoint.Record) {
		if c.Memory && !c.Synced {
			m.warn(fmt.Sprintf("%s@%s: its guest had not written back: the disk may lack what programs wrote last", c.VM, c.ID))
		}
		c.Memory, c.AgentReady = false, false
	})
}

// find is findCheckpoint of what change makes of it.
func (m *Manager) find(ctx context.Context, name, ref, verb string, change func(*checkpoint.Record)) (s source, lock *home.Lock, err error) {
	if lock, err = m.Home.Lock(ctx, name, verb); err != nil {
		return s, nil, err
	}
	if s, err = m.checkpointOf(ctx, name, ref, verb, change); err != nil {
		lock.Unlock()
		return s, nil, err
	}
	return s, lock, nil
}

// checkpointOf is find when the lock is held.
func (m *Manager) checkpointOf(ctx context.Context, name, ref, verb string, change func(*checkpoint.Record)) (s source, err error) {
	c, err := m.Home.FindCheckpoint(ctx, name, ref)
	if err != nil {
		return s, err
	}
	change(&c)
	dir := m.Home.CheckpointDir(c.VM, c.ID)
	if err := c.Check(ctx, dir, false, nil); err != nil {
		return s, err
	}
	c.Boots = m.findBootFiles(&c.Machine, c.Boots)
	d, err := m.Drivers.Driver(c.Machine.Driver)
	if err != nil {
		return s, err
	}
	s = source{Manager: m, verb: verb, c: c, dir: dir, driver: d}
	return s, s.checkLoadable(ctx)
}

// inPlace puts the VM of s back to it. The lock is held.
func (s source) inPlace(ctx context.Context, o RestoreOptions) error {
	old, err := s.record(s.c.VM)
	exists := !errors.Is(err, errs.ErrNotFound)
	if _, broken := errors.AsType[*manifest.BrokenError](err); err != nil && exists && !broken {
		return err
	}
	if exists {
		old.Name = s.c.VM // a damaged record has none
		if err := mayChange(old, s.Home.VMDir(s.c.VM), s.verb); err != nil {
			return err
		}
	}
	v := home.VM{Name: s.c.VM, RestoredFrom: s.c.VM + "@" + s.c.ID, CreatedAt: old.CreatedAt, Auto: old.Auto, Note: old.Note, Redo: o.left}
	if s.c.Memory && s.c.Machine.Agent {
		v.Unannounced = &home.Announcement{Event: "restore"}
		if old.Unannounced != nil { // a clone that was not told who it is, say
			v.Unannounced.Identity = old.Unannounced.Identity
		}
	} else if s.c.Machine.Agent {
		v.Unannounced = &home.Announcement{Event: startEvent}
	}
	// A damaged record does not name the VMM that runs all the same.
	runs := old.Process.Alive() || exists && err != nil && len(vmm.FindIn(s.Home.VMDir(s.c.VM))) > 0
	net, release, netErr := s.netInPlace(ctx, runs)
	if netErr != nil {
		return netErr
	}
	defer release()
	s.net = net
	keep := exists && !o.NoBackup && err == nil
	id := s.Home.NewCheckpointID(s.c.VM)
	switch {
	case o.try && s.c.Untouched: // it is as if there had been no try
		v.Before, v.Redo = old.Before, old.Redo
	case keep && o.undo:
		v.Redo = append(slices.Clone(o.left), id)
	case keep && !o.redo:
		v.Before = id
	}
	r := s.restoration(v)
	if exists {
		r.replaces = &old
	}
	if keep {
		r.backup = func(ctx context.Context) (string, error) { return s.backup(ctx, old, id) }
	}
	_, err = r.run(ctx)
	if err == nil && r.kept != "" && o.Kept != nil {
		o.Kept(r.kept)
	}
	return err
}

// clone makes v of s. v has a name and what else the caller knows.
func (s source) clone(ctx context.Context, v home.VM, keepIdentity bool) (*session, error) {
	lock, err := s.lockNew(ctx, v.Name, s.verb)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	if v.Auto, err = s.autoOf("", s.lease); err != nil {
		return nil, err
	}
	net, release, err := s.netOfClone(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	s.net = net
	if s.c.Machine.Agent {
		v.Unannounced = &home.Announcement{Event: "clone", Identity: !keepIdentity}
	}
	return s.restoration(v).run(ctx)
}

// backup keeps the present of old as the checkpoint id before s is restored, and returns the id once there is one.
func (s source) backup(ctx context.Context, old home.VM, id string) (string, error) {
	ran := old.Process.Alive()
	present, err := s.of(old, s.verb)
	if err != nil {
		return "", err
	}
	about := checkpoint.Record{ID: id, Cause: checkpoint.Cause{By: checkpoint.ByRestore, What: s.c.ID}}
	switch s.verb {
	case checkpoint.ByKeep, checkpoint.ByUndo, checkpoint.ByRedo:
		about.Cause.By = s.verb
	default:
		about.Label = checkpoint.BackupLabel + s.c.ID
	}
	kept, err := present.checkpoint(ctx, present.state(ctx), about)
	if err == nil {
		return kept.ID, nil
	}
	if ctx.Err() == nil {
		err = errs.WithHint(err, "--no-backup restores without keeping the present")
	}
	if ran {
		err = present.explain(err)
	}
	return "", fmt.Errorf("keeping the present state: %w", err)
}

// boundBackups deletes the oldest automatic checkpoints beyond keepBackups, but never s.
func (s source) boundBackups(ctx context.Context) {
	list, err := s.Home.CheckpointLabels(ctx, s.c.VM)
	seen, old := 0, []string(nil)
	for i := len(list) - 1; i >= 0 && err == nil; i-- {
		if l := list[i]; l.Err == nil && cause(l.Record).Backup() && l.ID != s.c.ID && !s.pinned(s.c.VM, l.ID) {
			if seen++; seen > keepBackups {
				old = append(old, l.ID)
			}
		}
	}
	if err == nil {
		err = s.removeCheckpoints(s.c.VM, old...)
	}
	if err != nil {
		s.warn("forgetting old checkpoints from before restores: " + err.Error())
	}
}
