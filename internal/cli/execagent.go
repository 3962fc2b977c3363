package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/term"

	"noid/internal/console"
	"noid/internal/errs"
	"noid/internal/link"
	"noid/internal/link/wire"
	"noid/internal/vm"
)

const (
	fallbackAfter = 20 * time.Second // without a word of the agent the console is tried as well: an emulated guest boots that long
	silentAfter   = time.Second      // likewise, where the console had to do before
	lookAfter     = 500 * time.Millisecond
	secondSignal  = 2 * time.Second // within which a second SIGINT leaves at once
)

// execAgent runs e through the agent.
func (a *app) execAgent(ctx context.Context, c *link.Client, name string, e wire.Exec, o execOptions) error {
	// From here on signals are the command's: ctx, which they end, is not what ends it.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	started := make(chan struct{})
	go a.lookAgain(ctx, cancel, started, name)
	if o.detach {
		ctx, stop := signal.NotifyContext(ctx, heeded(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)...)
		defer stop()
		job, err := c.Start(ctx, e)
		if err != nil {
			return execError(name, err)
		}
		fmt.Fprintln(a.out, job[:shortID])
		return nil
	}
	signal.Ignore(syscall.SIGPIPE) // a reader that leaves is an error of Write, after which a terminal is still put right
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, heeded(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)...)
	defer signal.Stop(signals)
	s := link.Streams{Out: a.out, Err: a.err, Signals: passOn(ctx, cancel, signals, o.tty), Started: func() { close(started) }}
	if o.stdin {
		s.In = os.Stdin
	}
	restore := func() {}
	if o.tty {
		var err error
		if restore, err = terminal(ctx, &e, &s, o.stdin); err != nil {
			return execError(name, err)
		}
		defer func() { restore() }()
	}
	exit, err := c.Exec(ctx, e, s)
	restore()
	switch {
	case errors.Is(err, syscall.EPIPE):
		return codeError{brokenPipe}
	case errors.Is(err, context.Canceled):
		return codeError{exitInterrupted}
	case err != nil && err == context.Cause(ctx): // lookAgain's, in words of its own
		return err
	case err != nil:
		return execError(name, err)
	}
	return a.ended(exit, o)
}

// execError says where err happened. What the guest refuses, a user that it does not have, is no wrong usage of noid: exit 125.
func execError(name string, err error) error {
	if errors.Is(err, errs.ErrUsage) {
		return fmt.Errorf("exec in vm %q: %v", name, err)
	}
	return fmt.Errorf("exec in vm %q: %w", name, err)
}

// ended turns the end of a command into noid's own.
func (a *app) ended(exit wire.Exit, o execOptions) error {
	if exit.Error != "" {
		fmt.Fprintln(a.err, "noid: "+exit.Error)
	}
	if exit.Lost > 0 {
		fmt.Fprintf(a.err, "noid: %d bytes of the command's output were dropped while noid was away\n", exit.Lost)
	}
	if exit.TimedOut {
		a.say("noid: exec timed out after %s", o.timeout)
		return codeError{console.TimeoutCode}
	}
	return codeOf(exit.Code)
}

// passOn turns noid's signals into the command's. Any signal within 2 s of a SIGINT, and a second SIGTERM, ends ctx; so does, with
// a terminal, any other than SIGINT: a shell there ignores SIGTERM, and its terminal is gone.
func passOn(ctx context.Context, cancel context.CancelCauseFunc, signals <-chan os.Signal, tty bool) <-chan int {
	out := make(chan int)
	go func() {
		var last time.Time // of a SIGINT
		term := false      // a SIGTERM was passed on
		for {
			select {
			case <-ctx.Done():
				return
			case sig := <-signals:
				n, _ := sig.(syscall.Signal)
				if !last.IsZero() && time.Since(last) < secondSignal || term && n == syscall.SIGTERM || tty && n != syscall.SIGINT {
					cancel(fmt.Errorf("%w: %v", context.Canceled, n))
					return
				}
				if n == syscall.SIGINT {
					last = time.Now()
				}
				term = term || n == syscall.SIGTERM
				select {
				case out <- int(n):
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}

// lookAgain finds out why an agent does not answer soon: a paused VM, or one whose guest has halted, never will.
func (a *app) lookAgain(ctx context.Context, cancel context.CancelCauseFunc, started <-chan struct{}, name string) {
	wait := time.NewTimer(lookAfter)
	defer wait.Stop()
	select {
	case <-started:
		return
	case <-ctx.Done():
		return
	case <-wait.C:
	}
	for {
		_, _, err := a.live(ctx, name, "exec")
		select {
		case <-started:
			return
		default:
		}
		if !errors.Is(err, errs.ErrBusy) {
			if err != nil {
				cancel(err)
			}
			return
		}
	}
}

// introduce tells the guest of info what it does not know yet, who and when it is, before any command runs there: see
// vm.Manager.Announce. It waits for the agent, without the VM's lock: a guest may have to boot first. When the agent does not
// answer in time the error wraps link.ErrNoAnswer.
func (a *app) introduce(ctx context.Context, m *vm.Manager, c *link.Client, info vm.Info, wait time.Duration) error {
	if info.Unannounced == nil {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	soon, because := context.WithCancelCause(soon)
	defer because(nil)
	answered := make(chan struct{})
	go a.lookAgain(soon, because, answered, info.Name)
	err := c.Wait(soon)
	close(answered)
	switch cause := context.Cause(soon); {
	case err == nil:
		return m.Announce(ctx, info.Name)
	case ctx.Err() != nil:
		return ctx.Err()
	case cause != nil && !errors.Is(cause, context.DeadlineExceeded):
		return cause
	case errors.Is(err, errs.ErrState):
		return err
	}
	if err := touch(ctx, m, info); err != nil {
		return err
	}
	return errs.New(errs.ErrTimeout, "%w: %w", link.ErrNoAnswer, err)
}

// touch has a guest that is to become a template become none: a user is about to talk to it over its console.
func touch(ctx context.Context, m *vm.Manager, info vm.Info) error {
	if info.Unannounced == nil || info.Unannounced.Template == "" {
		return nil
	}
	return m.Touch(ctx, info.Name)
}

// terminal prepares e and s for a terminal, in raw mode when it is read. The returned function puts it right; it may be
// called more than once.
func terminal(ctx context.Context, e *wire.Exec, s *link.Streams, read bool) (restore func(), err error) {
	in, out := int(os.Stdin.Fd()), int(os.Stdout.Fd())
	screen := out
	if !term.IsTerminal(out) {
		screen = in
	}
	size := func() *wire.Size {
		cols, rows, err := term.GetSize(screen)
		if err != nil || cols <= 0 || rows <= 0 || cols > 0xffff || rows > 0xffff {
			return nil
		}
		return &wire.Size{Rows: uint16(rows), Cols: uint16(cols)}
	}
	e.Size, e.Term = size(), os.Getenv("TERM")
	resize, changed := make(chan wire.Size), make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		defer signal.Stop(changed)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			if n := size(); n != nil {
				select {
				case resize <- *n:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	s.Resize = resize
	if !read {
		return func() {}, nil
	}
	old, err := term.MakeRaw(in)
	if err != nil {
		return nil, fmt.Errorf("setting up the terminal: %w", err)
	}
	return func() { term.Restore(in, old) }, nil
}

// execEither goes on after the agent has not answered for a while: a kernel that cannot load noid's initramfs has no agent.
// Whichever of agent and console answers first gets the command.
func (a *app) execEither(ctx context.Context, m *vm.Manager, c *link.Client, name string, argv []string, e wire.Exec, o execOptions, silent error) error {
	left := o.wait - c.Patience
	if left <= 0 {
		return a.noAnswer(name, o, silent)
	}
	agent, err := firstToAnswer(ctx, c, m.Home.VMDir(name), left)
	switch {
	case errors.Is(err, errs.ErrState) || ctx.Err() != nil:
		return execError(name, err)
	case err != nil:
		return a.noAnswer(name, o, silent)
	case agent:
		os.Remove(silentFile(m, name))
		if err := m.Announce(ctx, name); err != nil {
			return execError(name, err)
		}
		c.Patience = fallbackAfter
		return a.execAgent(ctx, c, name, e, o)
	}
	if f, err := os.OpenFile(silentFile(m, name), os.O_CREATE|os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600); err == nil {
		f.Close()
	}
	a.say("noid: the agent of vm %q does not answer", name)
	return a.execSerial(ctx, m, name, argv, o)
}

// silentFile marks, in its directory, a VM whose console had to do although it was made with the agent: the next command does
// not wait so long for that.
func silentFile(m *vm.Manager, name string) string {
	return filepath.Join(m.Home.VMDir(name), "agent.silent")
}

// firstToAnswer waits until the agent or a shell on the console of the VM in dir answers, and says whether it was the agent.
func firstToAnswer(ctx context.Context, c *link.Client, dir string, wait time.Duration) (agent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	byAgent, bySerial := make(chan error, 1), make(chan error, 1)
	go func() { byAgent <- c.Wait(ctx) }()
	go func() {
		_, err := console.Exec(ctx, dir, []string{"true"}, console.ExecOptions{WaitBoot: wait, Alive: c.Alive})
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
			if errors.Is(err, errs.ErrState) {
				return false, err
			}
		case serialErr := <-bySerial:
			if serialErr == nil {
				return false, nil
			}
		}
	}
	return false, err
}

// waitReady returns when commands can run in the VM, over the agent or, in a guest without one, over the console.
func waitReady(ctx context.Context, m *vm.Manager, info vm.Info, wait time.Duration) error {
	dir := m.Home.VMDir(info.Name)
	if !hasAgent(info) {
		_, err := console.Exec(ctx, dir, []string{"true"}, console.ExecOptions{WaitBoot: wait, Alive: info.Alive()})
		return err
	}
	c, err := m.Agent(info)
	if err != nil {
		return err
	}
	soon, cancel := context.WithTimeout(ctx, fallbackAfter)
	defer cancel()
	if err = c.Wait(soon); err == nil || errors.Is(err, errs.ErrState) || ctx.Err() != nil {
		return err
	}
	_, err = firstToAnswer(ctx, c, dir, wait-fallbackAfter)
	return err
}

func (a *app) noAnswer(name string, o execOptions, err error) error {
	err = errs.New(errs.ErrTimeout, "exec timed out: in vm %q neither the agent nor a shell on the console answered within %s: %w", name, o.wait, err)
	return errs.WithHint(err, "the boot has not finished or failed: 'noid logs "+name+"' shows it; --wait-timeout waits longer")
}
