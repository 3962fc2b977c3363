package vm

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"noid/internal/errs"
	"noid/internal/home"
)

// ForkOptions say what Fork makes.
type ForkOptions struct {
	Names        []string // of the clones
	KeepIdentity bool     // they keep the source's hostname and machine-id
}

// Fork makes running clones of the VM name, all as of one moment for which a running one stands still once, or of its
// checkpoint ref. No checkpoint stays of it. made is called for each clone when it runs or has failed, one call at a
// time. It returns how long the source stood still, in milliseconds. The error is about the source: then there are no
// clones.
func (m *Manager) Fork(ctx context.Context, name, ref string, o ForkOptions, made func(clone string, err error)) (downtimeMs float64, err error) {
	if err := m.beginFilling(ctx, "fork"); err != nil {
		return 0, err
	}
	if ref != "" {
		s, lock, err := m.findCheckpoint(ctx, name, ref, "fork")
		if err != nil {
			return 0, err
		}
		defer lock.Unlock()
		s.clones(ctx, home.VM{RestoredFrom: s.c.VM + "@" + s.c.ID}, o, made)
		return 0, nil
	}
	s, err := m.open(ctx, name, "fork")
	if err != nil {
		return 0, err
	}
	defer s.close()
	st, err := s.up(ctx)
	if err != nil {
		return 0, err
	}
	if o.Names = m.freeNames(o.Names, made); len(o.Names) == 0 { // a guest does not stand still for nothing
		return 0, nil
	}
	c, staging, err := s.capture(ctx, st, "")
	defer s.removeCapture(staging)
	if err != nil {
		return 0, s.explain(s.errorf("fork of", err))
	}
	captured := source{Manager: m, verb: "fork", c: c, dir: staging, driver: s.driver}
	captured.clones(ctx, home.VM{ForkedFrom: name}, o, made)
	return c.DowntimeMs, nil
}

// freeNames returns those of names that VMs can have and none has; made is told of the others.
func (m *Manager) freeNames(names []string, made func(string, error)) (free []string) {
	for _, name := range names {
		err := CheckName(name)
		if err == nil {
			err = m.free(name)
		}
		if err != nil {
			made(name, err)
		} else {
			free = append(free, name)
		}
	}
	return free
}

// clones makes the clones of s, some at a time. v is what they have in common.
func (s source) clones(ctx context.Context, v home.VM, o ForkOptions, made func(string, error)) {
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
				err = s.clone(ctx, v, o.KeepIdentity)
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
