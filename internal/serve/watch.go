package serve

import (
	"bytes"
	"context"
	"os"
	"time"

	"noid/internal/vm"
)

// How often the home is looked at for a client that hears of changes: cheaply, and in full. What happens without a file
// being made or renamed, such as the end of a VMM, the second sees.
const (
	glanceEvery = 250 * time.Millisecond
	lookEvery   = 2 * time.Second
)

// glance is when directories of the home were changed: those of VMs, and those of their checkpoints, by name.
type glance struct{ vms, checkpoints map[string]time.Time }

func look(m *vm.Manager) (g glance, err error) {
	g = glance{map[string]time.Time{}, map[string]time.Time{}}
	names, err := m.Home.VMNames()
	if err != nil {
		return g, err
	}
	owners, err := m.Home.CheckpointOwners()
	for _, l := range []struct {
		names []string
		dir   func(string) string
		to    map[string]time.Time
	}{{names, m.Home.VMDir, g.vms}, {owners, m.Home.CheckpointsDir, g.checkpoints}} {
		for _, name := range l.names {
			if info, err := os.Lstat(l.dir(name)); err == nil {
				l.to[name] = info.ModTime()
			}
		}
	}
	return g, err
}

// changed are the names whose times differ.
func changed(a, b map[string]time.Time) (names []string) {
	for name, at := range b {
		if before, there := a[name]; !there || !before.Equal(at) {
			names = append(names, name)
		}
	}
	for name := range a {
		if _, there := b[name]; !there {
			names = append(names, name)
		}
	}
	return names
}

// events tells a client of changes, until it or the server goes.
func (s *server) events(ctx context.Context, c *call, _ struct{}) error {
	end, err := s.streams.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	ctx, stop := s.untilClosing(ctx)
	defer stop()
	before, err := look(c.m)
	if err != nil {
		return err
	}
	e := newEvents(c.w)
	defer e.stop()
	c.events = e
	var list []byte
	var listed time.Time
	tick := time.NewTicker(glanceEvery)
	defer tick.Stop()
	for {
		now, err := look(c.m)
		if err == nil && (time.Since(listed) > lookEvery || len(changed(before.vms, now.vms)) > 0) {
			if vms, err := s.list(ctx, c, struct{}{}); err == nil {
				if doc := encode(vms); !bytes.Equal(doc, list) {
					list = doc
					e.sendRaw("vms", bytes.TrimSpace(doc))
				}
				listed = time.Now()
			}
		}
		for _, name := range changed(before.checkpoints, now.checkpoints) {
			e.send("checkpoints", Done{name})
		}
		if err == nil {
			before = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
