package vm

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/vmm"
)

// ForkOptions say what Fork makes.
type ForkOptions struct {
	Names        []string // of the clones
	KeepIdentity bool     // they stay the source's twins
}

// Fork makes running clones of the VM name, all as of one moment for which a running one stands still once, or of its
// checkpoint ref. No checkpoint stays of it. made is told of each clone as it stands, or fails, one call at a time. It returns
// how long the source stood still, in milliseconds. The error is about the source: then there are no clones.
func (m *Manager) Fork(ctx context.Context, name, ref string, o ForkOptions, made func(clone string, err error)) (downtimeMs float64, err error) {
	if ref != "" {
		c, d, lock, err := m.find(ctx, name, ref, "fork")
		if err != nil {
			return 0, err
		}
		defer lock.Unlock()
		m.clones(ctx, d, c, m.Home.CheckpointDir(c.VM, c.ID), home.VM{RestoredFrom: c.VM + "@" + c.ID}, o, made)
		return 0, nil
	}
	v, d, lock, err := m.open(ctx, name, "fork")
	if err != nil {
		return 0, err
	}
	defer lock.Unlock()
	st := certain(ctx, d, m.Home.VMDir(name), v)
	if st != vmm.Running && st != vmm.Paused {
		return 0, notRunning(name, st, "fork")
	}
	var names []string
	for _, clone := range o.Names { // a guest does not stand still for nothing
		if err := m.free(clone); err != nil {
			made(clone, err)
		} else {
			names = append(names, clone)
		}
	}
	if o.Names = names; len(names) == 0 {
		return 0, nil
	}
	c, staging, err := m.take(ctx, d, v, st, "")
	defer m.discard(name, staging)
	if err != nil {
		return 0, ended(v, fmt.Errorf("fork of vm %q: %w", name, err))
	}
	m.clones(ctx, d, c, staging, home.VM{ForkedFrom: name}, o, made)
	return c.DowntimeMs, nil
}

// clones makes the clones of c, whose files are in from, some at a time. v is what they have in common.
func (m *Manager) clones(ctx context.Context, d Driver, c checkpoint.Record, from string, v home.VM, o ForkOptions, made func(string, error)) {
	var all sync.WaitGroup
	var telling sync.Mutex
	slots := make(chan struct{}, 2*runtime.NumCPU()) // a VMM that starts waits as much as it works
	for _, name := range o.Names {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			v := v
			v.Name = name
			err := ctx.Err()
			if err == nil {
				err = m.clone(ctx, d, c, from, v, o.KeepIdentity)
			}
			if err != nil && !errors.Is(err, errs.ErrExists) {
				err = fmt.Errorf("making vm %q: %w", name, err)
			}
			telling.Lock()
			defer telling.Unlock()
			made(name, err)
		})
	}
	all.Wait()
}
