package vm

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/console"
	"noid/internal/errs"
	"noid/internal/link"
	"noid/internal/vmm"
)

const (
	// fallbackAfter is how long an agent may not say a word before noid looks whether it has to try the console: an
	// emulated guest boots so long.
	fallbackAfter = 20 * time.Second
	// turnEvery is how often it then looks again.
	turnEvery = time.Second
	// silentAfter is fallbackAfter for a VM whose console had to do before.
	silentAfter = time.Second
	// lookAfter is how long an agent may not answer before its VM is looked at, and lookEvery how often at last.
	lookAfter = 500 * time.Millisecond
	lookEvery = 4 * time.Second
)

// silentFile marks, in its directory, a VM whose console had to do although it was made with the agent.
const silentFile = "agent.silent"

// patience is how long the agent may stay silent before the console is tried.
func (s *session) patience(wait time.Duration) time.Duration {
	limit := fallbackAfter
	if _, err := os.Lstat(s.file(silentFile)); err == nil {
		limit = silentAfter
	}
	return max(min(wait, limit), time.Second)
}

// introduce announces to the guest what it does not know yet, before any command runs there. It waits for the agent
// without the VM's lock: a guest may have to boot first. When the agent does not answer in time the error wraps
// link.ErrNoAnswer.
func (s *session) introduce(ctx context.Context, wait time.Duration) error {
	if s.vm.Unannounced == nil {
		return nil
	}
	if err := s.awaitAgent(ctx, wait); err != nil {
		return err
	}
	return s.announce(ctx)
}

// awaitAgent waits until the agent answers. The error wraps link.ErrNoAnswer when it has not in time.
func (s *session) awaitAgent(ctx context.Context, wait time.Duration) error {
	soon, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	soon, because := context.WithCancelCause(soon)
	defer because(nil)
	answered := make(chan struct{})
	go s.lookAgain(soon, because, answered)
	err := s.agent().Wait(soon)
	close(answered)
	switch cause := context.Cause(soon); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case cause != nil && !errors.Is(cause, context.DeadlineExceeded):
		return cause
	case errors.Is(err, errs.ErrState):
		return s.explain(err)
	case errors.Is(err, errs.ErrHost):
		return err
	}
	return errs.New(errs.ErrTimeout, "%w: %w", link.ErrNoAnswer, err)
}

// lookAgain finds out why an agent does not answer soon: a paused VM, or one whose guest has halted, never will. It
// ends with ctx or when answered is closed.
func (s *session) lookAgain(ctx context.Context, cancel context.CancelCauseFunc, answered <-chan struct{}) {
	for wait := lookAfter; ; wait = min(2*wait, lookEvery) {
		select {
		case <-answered:
			return
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err := s.stillRuns(ctx)
		select {
		case <-answered:
			return
		default:
		}
		if err != nil && !errors.Is(err, errs.ErrBusy) {
			cancel(err)
			return
		}
	}
}

// ready waits until commands can run in the VM, over the agent or, in a guest without one, over the console.
func (s *session) ready(ctx context.Context, wait time.Duration) error {
	var err error
	if !s.vm.Machine.Agent {
		err = s.awaitShell(ctx, wait)
	} else if err = s.awaitAgent(ctx, min(wait, fallbackAfter)); errors.Is(err, link.ErrNoAnswer) && wait > fallbackAfter {
		_, err = s.firstToAnswer(ctx, wait-fallbackAfter)
	}
	if errors.Is(err, errs.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
		return errs.New(errs.ErrTimeout, "%s timed out: vm %q runs, but its guest cannot run commands after %s: %w", s.verb, s.vm.Name, wait, err).
			Hint("the boot has not finished or failed: 'noid logs " + s.vm.Name + "' shows it; a guest that sleeps wakes by 'noid resume " + s.vm.Name + "'")
	}
	return err
}

// awaitShell waits until a shell on the console answers.
func (s *session) awaitShell(ctx context.Context, wait time.Duration) error {
	_, err := console.Exec(ctx, s.dir, []string{"true"}, console.ExecOptions{WaitBoot: wait, Alive: s.alive()})
	if errors.Is(err, errs.ErrState) {
		return s.explain(err)
	}
	return err
}

// awaitTurn waits until a guest turns out to have no agent that answers: its root file system has written to the
// console, and noid-init, which starts the agent before that, has not said so. Nothing is typed into another, which may
// boot yet.
func (s session) awaitTurn(ctx context.Context) error { // a copy: the caller goes on with its own
	for {
		b, err := console.ReadBoot(ctx, s.dir)
		if err == nil && b.Root && !b.Agent {
			return s.spoilTemplate(ctx)
		}
		if err := vmm.Sleep(ctx, turnEvery); err != nil {
			return err
		}
	}
}

// firstToAnswer waits until the agent or a shell on the console answers, and says whether it was the agent.
func (s *session) firstToAnswer(ctx context.Context, wait time.Duration) (agent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	ctx, because := context.WithCancelCause(ctx)
	defer because(nil)
	answered := make(chan struct{})
	defer close(answered)
	go s.lookAgain(ctx, because, answered)
	byAgent, bySerial := make(chan error, 1), make(chan error, 1)
	client := s.agent()
	go func() { byAgent <- client.Wait(ctx) }()
	go func() {
		err := s.awaitTurn(ctx)
		if err == nil {
			err = s.awaitShell(ctx, wait)
		}
		bySerial <- err
	}()
	for range 2 {
		select {
		case err = <-byAgent:
			if err == nil {
				cancel()
				<-bySerial // it gets the console back in order
				return true, nil
			}
			if errors.Is(err, link.ErrDead) {
				return false, s.explain(err)
			}
		case serialErr := <-bySerial:
			if serialErr == nil {
				return false, nil
			}
		}
	}
	if why, ok := errors.AsType[stateError](context.Cause(ctx)); ok {
		return false, why
	}
	return false, err
}

// noteSilent has the next command not wait so long for the agent.
func (s *session) noteSilent() {
	if f, err := os.OpenFile(s.file(silentFile), os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600); err == nil {
		f.Close()
	}
}

// errNoAgent is the error of a verb that needs the agent in a VM that was made without.
func (s *session) errNoAgent(hint string) error {
	return errs.New(errs.ErrState, "%s: vm %q has no agent in its guest", s.verb, s.vm.Name).Hint(hint)
}
