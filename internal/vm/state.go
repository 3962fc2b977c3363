package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/vmm"
)

// State is what a VM does. It is derived at each look, never stored.
type State = vmm.State

// The states of a VM.
const (
	Running         = vmm.Running
	Paused          = vmm.Paused
	Stopped   State = "stopped"   // the guest powered off, or noid stopped it
	Dead      State = "dead"      // the VMM is gone though nobody stopped it
	Elsewhere State = "elsewhere" // the VMM runs where this noid does not reach it: see vmm.Elsewhere
	Broken    State = "broken"    // the record is damaged
)

// certainWait is how long a verb that changes a VM waits for the word of its VMM: on a busy host one look is not
// enough, and a paused guest taken for a running one would be set going.
const certainWait = 10 * time.Second

// state is the VM's state for a verb that holds its lock.
func (s *session) state(ctx context.Context) State {
	return stateWithin(ctx, s.driver, s.dir, s.vm, certainWait)
}

// up returns the state of a VM that has a guest, running or paused; of any other an error.
func (s *session) up(ctx context.Context) (State, error) {
	st := s.state(ctx)
	if st == Running || st == Paused {
		return st, nil
	}
	return st, s.ended(st)
}

// stateWithin derives the state of v, and asks its VMM for wait at most, when it lives.
func stateWithin(ctx context.Context, d vmm.Driver, dir string, v home.VM, wait time.Duration) State {
	deadline := time.Now().Add(wait)
	for v.Process.Alive() {
		if d.Ended(dir) == vmm.EndedPoweroff { // a VMM may outlive its halted guest
			return Stopped
		}
		st, err := d.State(ctx, dir)
		if err == nil {
			return st
		}
		// It is there, but does not answer in time: busy with another noid, or on a busy host. Else it answers no more.
		if v.Process.Alive() && (!errors.Is(err, errs.ErrTimeout) || ctx.Err() != nil || time.Now().After(deadline)) {
			return Running
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !v.Process.Here() && vmm.Elsewhere(dir, 0) {
		return Elsewhere
	}
	if v.StopRequested {
		return Stopped
	}
	switch d.Ended(dir) {
	case vmm.EndedPoweroff, vmm.EndedReboot:
		return Stopped
	}
	return Dead
}

// mayChange refuses verb for the VM v in dir while its VMM runs elsewhere. The VM's lock is held.
func mayChange(v home.VM, dir, verb string) error {
	wait := time.Duration(0)
	if v.Process.Here() { // it may have ended this moment
		wait = vmm.EndingWait
	}
	if v.Process.Alive() || !vmm.Elsewhere(dir, wait) {
		return nil
	}
	return elsewhere(v, verb)
}

// elsewhere says of which host, as far as is known.
func elsewhere(v home.VM, verb string) error {
	where := "in another pid namespace, or on another host"
	if self, _ := os.Hostname(); v.Process.Host != "" && v.Process.Host != self {
		where = fmt.Sprintf("on host %q, or in a container of that name", v.Process.Host)
	}
	return stateError{errs.New(errs.ErrState, "%s: vm %q runs elsewhere: %s", verb, v.Name, where).Hint("run noid there, or end the VM there first")}
}

// running returns the session of a verb that talks to the guest of name, and takes no lock. It goes by the record
// alone: the quick way to a VM that is as it should be. Any other is looked at again, for the right words.
func (m *Manager) running(ctx context.Context, name, verb string) (*session, error) {
	if v, err := m.Home.LoadVM(name); err == nil && v.Process.Alive() {
		return m.of(v, verb)
	}
	return m.surelyRunning(ctx, name, verb)
}

// surelyRunning is running that asks the VMM.
func (m *Manager) surelyRunning(ctx context.Context, name, verb string) (*session, error) {
	s, err := m.look(name, verb)
	if err != nil {
		return nil, err
	}
	st := stateWithin(ctx, s.driver, s.dir, s.vm, 0)
	if st == Paused { // for a checkpoint, perhaps: that one holds the lock until it is over
		lock, err := m.Home.Lock(ctx, name, verb)
		if err != nil {
			return nil, err
		}
		lock.Unlock()
		if s, err = m.look(name, verb); err != nil {
			return nil, err
		}
		st = stateWithin(ctx, s.driver, s.dir, s.vm, 0)
	}
	switch st {
	case Running:
		return s, nil
	case Paused:
		return nil, s.paused()
	case Elsewhere:
		return nil, elsewhere(s.vm, verb)
	}
	return nil, s.ended(st)
}

// endingWait is how long a VMM takes at most from closing its socket to its end.
const endingWait = 200 * time.Millisecond

// cleanupWait bounds what cleanup is for.
const cleanupWait = 30 * time.Second

// cleanup is a context for what must be done even when ctx has ended: letting a VM run again, killing a half-started
// one.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupWait)
}

// errorf is fmt.Errorf for an error about the VM.
func (s *session) errorf(format string, err error) error {
	if _, ok := errors.AsType[stateError](err); ok {
		return err
	}
	return fmt.Errorf(format+" vm %q: %w", s.vm.Name, err)
}
