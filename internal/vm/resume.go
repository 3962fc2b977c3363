package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"noid/internal/vmm"
)

// Resume has a paused VM run on, wakes a guest that has put itself to sleep, and sets its clock. A running one runs on.
// One that was paused for want of disk space is an errs.ErrHost until there is some.
func (m *Manager) Resume(ctx context.Context, name string) error {
	m.beginChange(ctx, "resume")
	return m.resume(ctx, name)
}

func (m *Manager) resume(ctx context.Context, name string) error {
	s, err := m.open(ctx, name, "resume")
	if err != nil {
		return err
	}
	defer s.close()
	st, err := s.up(ctx)
	if err != nil {
		return err
	}
	// Its helper may be about to let it run, for a noid that was killed in the pause.
	guard, st, err := s.guardPause(ctx, st)
	if err != nil {
		return s.explain(err)
	}
	guard.End()
	if st == Paused && s.driver.WhyPaused(s.dir) != "" {
		return s.paused()
	}
	if err := s.driver.Tell(ctx, s.dir, vmm.Resume); err != nil {
		if st == Paused && s.driver.WhyPaused(s.dir) != "" {
			return s.paused()
		}
		return s.explain(err)
	}
	if err := s.driver.Tell(ctx, s.dir, vmm.Wake); err != nil {
		return s.explain(err)
	}
	// A guest that does not know who it is yet hears the time with that.
	if !s.vm.Machine.Agent || s.vm.Unannounced != nil && !s.vm.AgentFrozen {
		return nil
	}
	s.thaw(ctx)
	if !s.vm.AgentFrozen {
		return nil
	}
	s.vm.AgentFrozen = false
	return s.save()
}

// ResumeHere is Resume for the VM whose directory is the current one: its helper has it run again when there is space.
// It fails while another command has the VM.
func (m *Manager) ResumeHere(ctx context.Context) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	name := filepath.Base(dir)
	if dir != m.Home.VMDir(name) {
		return errors.New("the VM is not in its place") // it is being restored
	}
	return m.resume(ctx, name)
}
