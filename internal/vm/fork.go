package vm

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/network"
)

// ForkOptions say what Fork makes: one clone called As, or N clones.
type ForkOptions struct {
	As           string
	N            int
	Prefix       string           // of N clones: the lowest numbers follow that no VM, nor a destroyed one's checkpoints, has
	Ports        [][]network.Port // each clone's; they have none of the source's
	Sockets      []network.Socket // likewise
	Secrets      []string         // likewise
	Networks     []string         // names of networks between VMs that they are on, beside the source's
	Note         Note             // kept with each
	KeepIdentity bool             // they keep the source's hostname and machine-id
}

// Fork makes running clones of the VM name, all as of one moment for which a running one stands still once, or of its
// checkpoint ref. No checkpoint stays of it. made is called for each clone when it runs or has failed, one call at a
// time. It returns how long the source stood still, in milliseconds. With an error there are no clones.
func (m *Manager) Fork(ctx context.Context, name, ref string, o ForkOptions, made func(clone string, err error)) (downtimeMs float64, err error) {
	names := &cloneNames{m: m, o: o}
	if o.As != "" {
		names.o.N = 1
		if err := m.free(o.As); err != nil { // a guest does not stand still for nothing
			return 0, err
		}
	}
	if _, err := m.membersOf(nil, o.Networks); err != nil {
		return 0, err
	}
	if err := m.beginFilling(ctx, "fork"); err != nil {
		return 0, err
	}
	if ref != "" {
		s, lock, err := m.findCheckpoint(ctx, name, ref, "fork")
		if err != nil {
			return 0, err
		}
		defer lock.Unlock()
		s.ports, s.sockets, s.grants, s.networks = o.Ports, o.Sockets, o.Secrets, o.Networks
		s.noticePorts()
		s.clones(ctx, home.VM{RestoredFrom: s.c.VM + "@" + s.c.ID, Note: o.Note}, names, made)
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
	c, staging, err := s.capture(ctx, st, "")
	defer s.removeCapture(staging)
	if err != nil {
		return 0, s.explain(s.errorf("fork of", err))
	}
	captured := source{Manager: m, verb: "fork", c: c, dir: staging, driver: s.driver, ports: o.Ports, sockets: o.Sockets, grants: o.Secrets, networks: o.Networks}
	captured.noticePorts()
	captured.clones(ctx, home.VM{ForkedFrom: name, Note: o.Note}, names, made)
	return c.DowntimeMs, nil
}

// cloneNames gives the clones of one fork their names.
type cloneNames struct {
	m    *Manager
	o    ForkOptions
	mu   sync.Mutex
	last int // the number that was given last
}

func (n *cloneNames) next() string {
	if n.o.As != "" {
		return n.o.As
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		n.last++
		if name := n.o.Prefix + strconv.Itoa(n.last); n.m.CheckKnown(name) != nil {
			return name
		}
	}
}

// clones makes the clones of s, some at a time. v is what they have in common.
func (s source) clones(ctx context.Context, v home.VM, names *cloneNames, made func(string, error)) {
	var all sync.WaitGroup
	var telling sync.Mutex
	slots := make(chan struct{}, 2*runtime.NumCPU()) // a VMM that starts waits as much as it works
	for range names.o.N {
		slots <- struct{}{}
		name := names.next()
		all.Go(func() {
			defer func() { <-slots }()
			v := v
			v.Name = name
			err := s.cloneNext(ctx, &v, names)
			telling.Lock()
			defer telling.Unlock()
			made(v.Name, err)
		})
	}
	all.Wait()
}

// cloneNext is clone that takes the next name when another command was quicker to take v's.
func (s source) cloneNext(ctx context.Context, v *home.VM, names *cloneNames) error {
	for {
		err := ctx.Err()
		if err == nil {
			_, err = s.clone(ctx, *v, names.o.KeepIdentity)
		}
		switch {
		case err == nil || errors.Is(err, errs.ErrExists) && names.o.As != "":
			return err
		case errors.Is(err, errs.ErrExists):
			v.Name = names.next()
		default:
			return fmt.Errorf("making vm %q: %w", v.Name, err)
		}
	}
}
