package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/vmm"
)

// stopWait is how long Stop waits for a guest to shut down before it kills it.
const stopWait = 10 * time.Second

// Stop asks the guest to power off, and kills the VMM when it has not done so in stopWait, or at once with force. A VM
// that is stopped or dead stays so.
func (m *Manager) Stop(ctx context.Context, name string, force bool) error {
	m.beginChange(ctx, "stop")
	s, err := m.open(ctx, name, "stop")
	if err != nil {
		return err
	}
	defer s.close()
	return s.stop(ctx, force)
}

// stop is Stop for a VM that is locked.
func (s *session) stop(ctx context.Context, force bool) error {
	st := s.state(ctx)
	if st == Stopped || st == Dead {
		return s.end(ctx) // a VMM may outlive its halted guest
	}
	s.vm.StopRequested = true
	if err := s.save(); errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		s.warn("the disk is full: if this vm must be killed, it will be shown as dead, not as stopped")
	} else if err != nil {
		return err
	}
	if !force {
		if err := s.shutDown(ctx, st); err != nil {
			return err
		}
	}
	end, cancel := cleanup(ctx)
	defer cancel()
	return errors.Join(s.end(end), ctx.Err())
}

// end ends the VMM and removes the guest's memory, which nobody needs any more and which may be as large as that.
func (s *session) end(ctx context.Context) error {
	err := s.vm.Process.Kill(ctx)
	if memory := s.driver.MemorySource(s.dir); err == nil && memory != "" {
		os.Remove(memory)
	}
	return err
}

// shutDown asks the guest to power off and waits for that. An error is one for which the VMM is not to be killed.
func (s *session) shutDown(ctx context.Context, st State) error {
	if st == Paused {
		if err := s.driver.Tell(ctx, s.dir, vmm.Resume); err != nil {
			return err
		}
		if s.vm.AgentFrozen {
			s.thaw(ctx) // what it writes on its way down has the right time
		}
	}
	if !s.poweroff(ctx) && s.driver.Tell(ctx, s.dir, vmm.Shutdown) != nil {
		return nil
	}
	deadline := time.Now().Add(stopWait)
	for s.vm.Process.Alive() && s.driver.Ended(s.dir) == vmm.EndedUnknown && time.Now().Before(deadline) && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	return errs.WithHint(ctx.Err(), fmt.Sprintf("the guest of vm %q was told to shut down, and goes on with that; --force kills it", s.vm.Name))
}
