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
	if errors.Is(err, errs.ErrNotFound) && errs.Hint(err) == "" {
		err = errs.WithHint(err, "'noid ps "+name+"' lists them")
	}
	return err
}

// ask asks the agent of a running VM something short.
func (m *Manager) ask(ctx context.Context, name, verb string, what func(context.Context, *link.Client) error) error {
	s, err := m.surelyRunning(ctx, name, verb)
	if err != nil {
		return err
	}
	if !s.vm.Machine.Agent {
		return s.errNoAgent("a VM made without --no-agent has it")
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
		err = errs.WithHint(errs.Mark(err, errs.ErrTimeout), "'noid logs "+name+"' shows how far the guest is")
	}
	return err
}
