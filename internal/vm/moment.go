package vm

import (
	"context"
	"fmt"
	"sync"
	"time"

	"noid/internal/errs"
	"noid/internal/home"
)

// Now stands, in the place of a checkpoint's id, for a VM as it is at this moment.
const Now = "now"

// aloneWord has noid's agent be init of a clone that boots: nothing of the guest's own runs by itself.
const aloneWord = "noid.alone"

// ExecAt is Exec in a throw-away clone of the VM name, as its checkpoint ref or Now has it. Nobody else sees the clone,
// and it is gone with the command. It has no network and no secrets, and runs no hooks; its clock goes on from that
// moment. What has no memory, as a VM that does not run, is booted with noid's agent as init.
func (m *Manager) ExecAt(ctx context.Context, name, ref string, c Command, streams Streams) (exit Exit, err error) {
	switch {
	case c.Detach:
		err = errs.New(errs.ErrUsage, "-d and %s@%s: nobody is there to end the clone", name, ref).Hint("leave out -d, or make a vm: noid run -d " + name + "@" + ref)
	case c.Serial:
		err = errs.New(errs.ErrUsage, "--serial and %s@%s: the agent alone answers there", name, ref).Hint("'noid restore " + name + " " + ref + " --as NEW' makes a vm")
	default:
		err = c.checkWhole()
	}
	if err != nil {
		return exit, err
	}
	verb := "exec"
	if c.Shell {
		verb = "shell"
	}
	s, err := m.lookInto(ctx, name, ref, verb, c.Wait)
	if err != nil {
		return exit, err
	}
	defer s.vanish(ctx)
	exit, err = s.execAgent(ctx, c, streams, max(c.Wait, time.Millisecond))
	if streams.End != nil {
		streams.End()
	}
	return exit, err
}

// lookInto makes a hidden clone of the VM name, as its checkpoint ref or Now has it, whose agent answers: within wait
// where it has to boot. The caller has it vanish.
func (m *Manager) lookInto(ctx context.Context, name, ref, verb string, wait time.Duration) (*session, error) {
	if err := m.beginFilling(ctx, verb); err != nil {
		return nil, err
	}
	s, err := m.hiddenClone(ctx, name, ref, verb, aloneWord)
	if err != nil {
		return nil, err
	}
	if err = s.awaitAgent(ctx, max(wait, time.Millisecond)); err == nil {
		err = s.agent().Look(ctx, announceWait, newSeed())
	}
	if err != nil {
		s.vanish(ctx)
		return nil, s.errorf(verb+" in", err)
	}
	return s, nil
}

// hiddenClone makes a clone of the VM name, as its checkpoint ref or Now has it. It never leaves the staging area, and
// its lock is held until it vanishes: once this process has ended, Sweep removes it. One that boots has bootArgs.
func (m *Manager) hiddenClone(ctx context.Context, name, ref, verb, bootArgs string) (*session, error) {
	from, free, err := m.moment(ctx, name, ref, verb)
	if err != nil {
		return nil, err
	}
	defer free()
	id := Now
	if ref != Now {
		id = from.c.ID
	}
	if !from.c.Machine.Agent {
		return nil, errs.New(errs.ErrState, "%s: vm %q has no agent in its guest", verb, name).Hint("make a vm without --no-agent")
	}
	from.staged, from.hidden = free, true
	if !from.c.Memory {
		from.c.Machine.BootArgs, from.c.Machine.Net = joinArgs(from.c.Machine.BootArgs, bootArgs), false
	}
	v, lock := home.VM{ForkedFrom: name}, (*home.Lock)(nil)
	if err := m.named(func(name string) error {
		v.Name = name
		lock, err = m.lockNew(ctx, name, verb)
		return err
	}); err != nil {
		return nil, err
	}
	s, err := from.restoration(v).run(ctx)
	if err != nil {
		lock.Unlock()
		return nil, fmt.Errorf("looking into %s@%s: %w", name, id, err)
	}
	s.lock, s.vm.Name = lock, name+"@"+id // for messages
	return s, nil
}

// moment is what a clone is made of: the checkpoint ref of the VM name, or with Now the VM as it is. free ends the use
// of it, and may be repeated.
func (m *Manager) moment(ctx context.Context, name, ref, verb string) (from source, free func(), err error) {
	if ref != Now {
		from, lock, err := m.findCheckpoint(ctx, name, ref, verb)
		return from, lock.Unlock, err
	}
	s, err := m.open(ctx, name, verb)
	if err != nil {
		return from, nil, err
	}
	from = source{Manager: m, verb: verb, dir: s.dir, driver: s.driver}
	st := s.state(ctx)
	if st != Running && st != Paused { // its disk is nobody's
		s.vm.Boots = m.findBootFiles(&s.vm.Machine, s.vm.Boots)
		if from.c, err = s.newCheckpoint(st, ""); err == nil {
			err = m.checkDriver(s.vm.Machine.Driver, s.vm.Machine.KernelPath)
		}
		if err != nil {
			s.close()
			return from, nil, s.errorf(verb+" of", err)
		}
		return from, s.close, nil
	}
	from.c, from.dir, err = s.capture(ctx, st, "")
	free = sync.OnceFunc(func() {
		s.removeCapture(from.dir)
		s.close()
	})
	if err != nil {
		free()
		return from, nil, s.explain(s.errorf(verb+" of", err))
	}
	return from, free, nil
}

// vanish removes a hidden clone. What it cannot do the next Sweep does.
func (s *session) vanish(ctx context.Context) {
	if err := removeStaged(ctx, s.vm.Process, s.dir); err != nil {
		s.warn(fmt.Sprintf("the clone of %s is removed by the next command that changes something: %v", s.vm.Name, err))
	}
	s.lock.Unlock()
}

// stillRuns says why the VM's guest does not run, nil if it does.
func (s *session) stillRuns(ctx context.Context) error {
	if !s.hidden {
		_, err := s.surelyRunning(ctx, s.vm.Name, s.verb)
		return err
	}
	switch st := stateWithin(ctx, s.driver, s.dir, s.vm, 0); st {
	case Running:
		return nil
	case Paused:
		return s.paused()
	default:
		return s.ended(st)
	}
}
