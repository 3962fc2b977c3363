package vm

import (
	"context"

	"noid/internal/vmm"
)

// Pause stops the processor of a running VM. A paused one stays so.
func (m *Manager) Pause(ctx context.Context, name string) error {
	m.beginChange(ctx, "pause")
	s, err := m.open(ctx, name, "pause")
	if err != nil {
		return err
	}
	defer s.close()
	st, err := s.up(ctx)
	if err != nil {
		return err
	}
	guard, st, err := s.guardPause(ctx, st) // one that a killed noid has left would end this one
	if err != nil {
		return s.explain(err)
	}
	defer guard.Close()
	if st == Running {
		if s.vm.AgentFrozen = s.freeze(ctx, false); s.vm.AgentFrozen {
			guard.Frozen()
		}
		if err := s.save(); err != nil {
			if s.vm.AgentFrozen {
				s.thaw(ctx)
			}
			return err
		}
	}
	if err := s.driver.Tell(ctx, s.dir, vmm.Pause); err != nil {
		return s.explain(err)
	}
	return s.explain(guard.End())
}
