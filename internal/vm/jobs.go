package vm

import (
	"context"
	"errors"
	"time"

	"noid/internal/errs"
	"noid/internal/link"
	"noid/internal/link/wire"
)

// answerTime bounds Jobs and Signal, which a checkpoint may hold up.
const answerTime = 30 * time.Second

// Job is a command that noid runs in a guest, or one that was detached and has ended. Its text is the guest's: not fit
// for a terminal before it went through package untrusted.
type Job = wire.Job

// Jobs lists the jobs of name's guest.
func (m *Manager) Jobs(ctx context.Context, name string) (jobs []Job, err error) {
	err = m.ask(ctx, name, "ps", func(ctx context.Context, c *link.Client) error {
		jobs, err = c.Jobs(ctx)
		return err
	})
	return jobs, err
}

// Signal sends the Linux signal number sig to the process group of the job that id begins. No such job is
// errs.ErrNotFound, several are errs.ErrUsage.
func (m *Manager) Signal(ctx context.Context, name, id string, sig int) error {
	err := m.ask(ctx, name, "kill", func(ctx context.Context, c *link.Client) error { return c.Kill(ctx, id, sig) })
	return withJobsHint(err, name)
}

// Input is for a job: bytes, their end, or the size of its terminal.
type Input = wire.Input

// Input gives input to the job of this id, which Command.Detach with Command.Stdin has started, and waits until the guest
// has it. No such job is errs.ErrNotFound, one that reads nothing is errs.ErrUsage.
func (m *Manager) Input(ctx context.Context, name, id string, in Input) error {
	err := m.ask(ctx, name, "input", func(ctx context.Context, c *link.Client) error { return c.Input(ctx, id, in) })
	return withJobsHint(err, name)
}

func withJobsHint(err error, name string) error {
	if errors.Is(err, errs.ErrNotFound) && errs.Hint(err) == "" {
		return errs.WithHint(err, "'noid ps "+name+"' lists them")
	}
	return err
}

// Attach goes on with the job that id begins and that Command.Detach has started: output that nobody has had yet, what
// follows, and how it ended. Its streams' Out and Err alone count. When ctx is cancelled the job runs on. No such job
// is errs.ErrNotFound, several are errs.ErrUsage, one that somebody else is attached to is errs.ErrBusy.
func (m *Manager) Attach(ctx context.Context, name, id string, streams Streams) (exit Exit, err error) {
	s, err := m.guest(ctx, name, "attach")
	if err != nil {
		return exit, err
	}
	ended, err := s.agent().Attach(ctx, id, link.Streams{Out: streams.Out, Err: streams.Err})
	if ctx.Err() != nil {
		return exit, errs.WithHint(ctx.Err(), "the command runs on")
	} else if err != nil {
		return exit, withJobsHint(s.execError(err), name)
	}
	return exitOf(ended), nil
}

// ask asks the agent of a running VM something short.
func (m *Manager) ask(ctx context.Context, name, verb string, what func(context.Context, *link.Client) error) error {
	s, err := m.guest(ctx, name, verb)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, link.ErrNoAnswer)
	defer cancel()
	if err = what(ctx, s.agent()); err == nil {
		return nil
	}
	if errors.Is(err, link.ErrDead) {
		err = s.explain(err)
	}
	err = s.errorf(verb+" of", err)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = errs.WithHint(errs.Mark(err, errs.ErrTimeout), "'noid logs "+name+"' shows how far the guest is; one that sleeps wakes by 'noid resume "+name+"'")
	}
	return err
}

// guest is the session of a verb that needs the agent of a running VM.
func (m *Manager) guest(ctx context.Context, name, verb string) (*session, error) {
	s, err := m.surelyRunning(ctx, name, verb)
	if err == nil && !s.vm.Machine.Agent {
		err = s.errNoAgent("a VM made without --no-agent has it")
	}
	return s, err
}
