package vm

import (
	"cmp"
	"context"
	"errors"

	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/network"
	"noid/internal/proc"
)

// Destroy kills the VM and removes it, and its checkpoints when asked. It returns how many checkpoints stay.
func (m *Manager) Destroy(ctx context.Context, name string, checkpoints bool) (kept int, err error) {
	m.beginChange(ctx, "destroy")
	lock, err := m.Home.Lock(ctx, name, "destroy")
	if err != nil {
		return 0, err
	}
	defer func() {
		lock.Unlock()
		if err == nil {
			m.pruneKernels(ctx)
		}
	}()
	if err := m.destroyVM(ctx, name, checkpoints); err != nil {
		return 0, err
	}
	ids, err := m.Home.CheckpointIDs(name)
	if errors.Is(err, errs.ErrNotFound) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	if !checkpoints {
		return len(ids), nil
	}
	return 0, m.removeCheckpoints(name, ids...)
}

// destroyVM is Destroy for the VM itself. With checkpoints it need not be there, if they are.
func (m *Manager) destroyVM(ctx context.Context, name string, checkpoints bool) error {
	v, err := m.record(name)
	if _, broken := errors.AsType[*manifest.BrokenError](err); err != nil && !broken {
		if !checkpoints || !errors.Is(err, errs.ErrNotFound) {
			return err
		}
		if ids, _ := m.Home.CheckpointIDs(name); len(ids) == 0 {
			return err
		}
		return nil
	}
	v.Name = name // a damaged record has none
	if err := cmp.Or(ctx.Err(), mayChange(v, m.Home.VMDir(name), "destroy")); err != nil {
		return err
	}
	// First out of the way, then killed: whoever is killed in between leaves no dead VM, but one that Sweep ends.
	old := m.Home.OldDir(name)
	c, _ := network.Load(m.Home.VMDir(name))
	defer removeSockets(c)
	if err := publish(m.Home.VMDir(name), old); err != nil {
		return err
	}
	end, cancel := cleanup(ctx)
	defer cancel()
	if err := v.Process.Kill(end); err != nil {
		return err
	}
	return removeStaged(ctx, proc.Process{}, old) // with what else runs there, whoever was recorded
}
