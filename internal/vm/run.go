package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"noid/internal/errs"
	"noid/internal/home"
)

// RunOptions say of what Run makes a VM: as Create does, or of a checkpoint.
type RunOptions struct {
	CreateOptions         // with an empty Name the VM gets one of two words; Wait and NoAgent do not count
	VM, Checkpoint string // a clone of this checkpoint, of which only Name counts then; empty for none
	// Entrypoint, if not nil, replaces the image's; "" is none.
	Entrypoint *string
	Remove     bool     // destroy the VM when the command has ended, or this process has
	words      []string // of the command, as the user gave them
}

// Run makes a VM, runs c in it, and returns what the VM is called and how c ended. c.Argv may be empty where an image
// has a command. With Remove the VM is destroyed then. Without, it is stopped, and its disk stays; but it runs on after
// c.Detach, and when noid failed. Errors are those of Create, Restore and Exec.
func (m *Manager) Run(ctx context.Context, o RunOptions, c Command, streams Streams) (name string, exit Exit, err error) {
	if o.Remove && c.Detach {
		return "", exit, errs.New(errs.ErrUsage, "--rm and -d: nobody is there to destroy the vm when the command ends").Hint("leave one of them out")
	}
	if err := c.check(); err != nil {
		return "", exit, err
	}
	o.words = c.Argv
	s, err := m.newRun(ctx, o)
	if err != nil {
		return "", exit, err
	}
	c.Argv, _ = o.argv(s.vm.Image)
	c.stopSignal = stopSignal(s.vm.Image)
	exit, err = s.exec(ctx, c, streams)
	if streams.End != nil {
		streams.End()
	}
	switch {
	case s.lease != nil:
		s.discard(ctx)
	case err == nil && exit.Job == "" || ctx.Err() != nil:
		s.stopRun(ctx)
	case err != nil:
		m.warn(fmt.Sprintf("vm %q runs on; 'noid destroy %s' removes it", s.vm.Name, s.vm.Name))
	}
	return s.vm.Name, exit, err
}

// newRun makes the VM of o, by a name that is free where o has none.
func (m *Manager) newRun(ctx context.Context, o RunOptions) (s *session, err error) {
	if o.VM != "" { // a home is not made for what is not there
		err = m.CheckKnown(o.VM)
	}
	if err == nil {
		err = m.Home.Make()
	}
	if err != nil {
		return nil, err
	}
	if o.Name != "" {
		return m.newRunAs(ctx, o)
	}
	err = m.named(func(name string) error {
		o.Name = name
		s, err = m.newRunAs(ctx, o)
		return err
	})
	return s, err
}

func (m *Manager) newRunAs(ctx context.Context, o RunOptions) (s *session, err error) {
	if err := CheckName(o.Name); err != nil {
		return nil, err
	}
	if o.Remove {
		if o.lease, err = m.Home.NewLease(ctx, o.Name); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				o.lease.End()
			}
		}()
	}
	if o.VM != "" {
		return m.cloneRun(ctx, o)
	}
	if _, err := o.argv(o.Image); err != nil {
		return nil, err
	}
	if s, err = m.create(ctx, o.CreateOptions); err == nil {
		s.verb = "run"
		m.warnEmulated(s.driver.Name())
	}
	return s, err
}

// cloneRun is newRunAs of a checkpoint.
func (m *Manager) cloneRun(ctx context.Context, o RunOptions) (*session, error) {
	if err := m.beginFilling(ctx, "run"); err != nil {
		return nil, err
	}
	from, lock, err := m.findCheckpoint(ctx, o.VM, o.Checkpoint, "run")
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	if _, err := o.argv(from.c.Image); err != nil {
		return nil, err
	}
	from.lease, from.staged, from.ports, from.grants = o.lease, lock.Unlock, o.Net.Ports, o.Net.Secrets
	from.sockets, from.networks = o.Net.Sockets, o.Net.Networks
	from.noticePorts()
	s, err := from.clone(ctx, home.VM{Name: o.Name, RestoredFrom: from.c.VM + "@" + from.c.ID}, false)
	if err != nil && !errors.Is(err, errs.ErrExists) {
		err = fmt.Errorf("restoring %s@%s: %w", from.c.VM, from.c.ID, err)
	}
	return s, err
}

// discard destroys the VM, by whatever name. What it cannot do the next Sweep does, once this process has ended.
func (s *session) discard(ctx context.Context) {
	end, cancel := cleanup(ctx)
	defer cancel()
	name, err := s.lease.VM(s.Home)
	for ; name != "" && err == nil; name, err = s.lease.VM(s.Home) {
		var lock *home.Lock
		if lock, err = s.Home.Lock(end, name, s.verb); err == nil {
			var now string
			if now, err = s.lease.VM(s.Home); err == nil && now == name { // else it was renamed since
				err = s.destroyVM(end, name, false)
			}
			lock.Unlock()
		}
		if err != nil && !errors.Is(err, errs.ErrNotFound) {
			break
		}
	}
	if err != nil {
		s.warn(fmt.Sprintf("vm %q is removed by the next command that changes something: %v", s.vm.Name, err))
		return
	}
	s.lease.End()
}

// stopRun stops the VM of a command that has ended, by whatever name, and says so. One that was destroyed or restored
// meanwhile is another's.
func (s *session) stopRun(ctx context.Context) {
	end, cancel := cleanup(ctx)
	defer cancel()
	for name := s.called(); name != ""; name = s.called() {
		now, err := s.open(end, name, s.verb)
		if errors.Is(err, errs.ErrNotFound) {
			continue
		}
		if err == nil {
			same := now.vm.Process == s.vm.Process
			if same {
				err = now.stop(end, false)
			}
			now.close()
			if err == nil && !same {
				continue
			}
		}
		if err == nil {
			s.notice(fmt.Sprintf("vm %q is stopped; 'noid destroy %s' removes it", name, name))
		} else {
			s.warn(fmt.Sprintf("vm %q was not stopped: %v", name, err))
		}
		return
	}
}

// called returns what the VM that s has started is called by now, "" when there is none any more.
func (s *session) called() string {
	names, _ := s.Home.VMNames()
	for _, name := range slices.Concat([]string{s.vm.Name}, names) {
		if v, err := s.Home.LoadVM(name); err == nil && v.Process == s.vm.Process {
			return name
		}
	}
	return ""
}
