package vm

import (
	"context"
	"errors"
	"os"

	"noid/internal/errs"
	"noid/internal/helper"
	"noid/internal/home"
	"noid/internal/proc"
	"noid/internal/vmm"
)

// Start boots a stopped or dead VM from its disk. One that runs or is paused is errs.ErrState.
func (m *Manager) Start(ctx context.Context, name string) error {
	if err := m.beginFilling(ctx, "start"); err != nil {
		return err
	}
	s, err := m.open(ctx, name, "start")
	if err != nil {
		return err
	}
	defer s.close()
	switch s.state(ctx) {
	case Running:
		return errs.New(errs.ErrState, "start: vm %q is running already", name)
	case Paused:
		return errs.New(errs.ErrState, "start: vm %q is paused", name).Hint("let it run with 'noid resume " + name + "'")
	}
	if err := s.vm.Process.Kill(ctx); err != nil { // a VMM may outlive its halted guest
		return err
	}
	s.vm.Boots = m.findBootFiles(&s.vm.Machine, s.vm.Boots)
	if err := m.checkDriver(s.vm.Machine.Driver, s.vm.Machine.KernelPath); err != nil {
		return s.errorf("starting", err)
	}
	net, release, err := s.reserved(ctx)
	if err != nil {
		return s.errorf("starting", err)
	}
	defer release()
	if s.vm.WarmFrom = nil; s.vm.Unannounced != nil { // its disk is no new one's any more
		s.vm.Unannounced.Template = ""
	}
	// Should noid be killed before the new process is recorded: an empty staging directory has Sweep look for it.
	mark := m.Home.StagingDir(name)
	if err := os.Mkdir(mark, 0o700); err != nil {
		return s.errorf("starting", err)
	}
	defer os.Remove(mark)
	if err := s.boot(ctx); err != nil {
		return s.errorf("starting", err)
	}
	m.warnEmulated(s.driver.Name())
	s.awaitListening(ctx, net)
	return nil
}

// startEvent has the guest told the time: the clock that it boots with is up to a second late.
const startEvent = "start"

// boot starts the VM in its directory and records the process there.
func (s *session) boot(ctx context.Context) error {
	p, err := s.driver.Start(ctx, s.dir, &s.vm.Machine)
	if err != nil {
		return err
	}
	v := &s.vm
	v.Process, v.StopRequested, v.LastError, v.AgentFrozen = p, false, "", false
	if v.Machine.Agent && (v.Unannounced == nil || !v.Unannounced.Identity) { // what was restored is over, but who it is
		v.Unannounced = &home.Announcement{Event: startEvent}
	}
	if err := s.save(); err != nil {
		end, cancel := cleanup(ctx)
		defer cancel()
		return errors.Join(err, p.Kill(end))
	}
	s.startHelper(p)
	return nil
}

// startHelper starts the VM's helper. Without it the VM runs all the same, and whoever needs one later starts it.
func (s *session) startHelper(p proc.Process) {
	if len(s.HelperCommand) > 0 {
		helper.Start(s.HelperCommand, s.driver.Name(), s.dir, p)
	}
}

// StartHelper starts the helper of the VM whose directory is dir, by whatever name: a clone that is being made has none
// yet. It is for drivers whose guests cannot be reached without a helper.
func (m *Manager) StartHelper(driver, dir string) error {
	found := vmm.FindIn(dir)
	switch {
	case len(found) == 0:
		return errors.New("its VMM has ended")
	case len(m.HelperCommand) == 0:
		return errors.New("this program is not noid")
	}
	return helper.Start(m.HelperCommand, driver, dir, found[0])
}
