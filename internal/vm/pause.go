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
	if st == Running {
		s.vm.AgentFrozen = s.freeze(ctx, false)
		if err := s.save(); err != nil {
			if s.vm.AgentFrozen {
				s.thaw(ctx)
			}
			return err
		}
	}
	return s.explain(s.driver.Tell(ctx, s.dir, vmm.Pause))
}
