package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"noid/internal/agentclient"
	"noid/internal/console"
	"noid/internal/errs"
	"noid/internal/vm"
	"noid/internal/wire"
)

const (
	fallbackAfter = 10 * time.Second // without a word of the agent the console is tried as well
	lookAfter     = 500 * time.Millisecond
	secondSignal  = 2 * time.Second // within which a second SIGINT leaves at once
)

// execAgent runs e through the agent.
func (a *app) execAgent(ctx context.Context, c *agentclient.Client, name string, e wire.Exec, o execOptions) error {
	// From here on signals are the command's: ctx, which they end, is not what ends it.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	started := make(chan struct{})
	go a.lookAgain(ctx, cancel, started, name)
	if o.detach {
		ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
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
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	s := agentclient.Streams{Out: a.out, Err: a.err, Signals: passOn(ctx, cancel, signals, o.tty), Started: func() { close(started) }}
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
	case err != nil:
		return execError(name, err)
	}
	return a.ended(exit, o)
}

func execError(name string, err error) error { return fmt.Errorf("exec in vm %q: %w", name, err) }

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

// passOn turns noid's signals into the command's. The second SIGINT within 2 s ends ctx; so does, with a terminal, any other
// than SIGINT: a shell there ignores SIGTERM, and its terminal is gone.
func passOn(ctx context.Context, cancel context.CancelCauseFunc, signals <-chan os.Signal, tty bool) <-chan int {
	out := make(chan int)
	go func() {
		var last time.Time
		for {
			select {
			case <-ctx.Done():
				return
			case sig := <-signals:
				n, _ := sig.(syscall.Signal)
				if n == syscall.SIGINT && !last.IsZero() && time.Since(last) < secondSignal || tty && n != syscall.SIGINT {
					cancel(fmt.Errorf("%w: %v", context.Canceled, n))
					return
				}
				if n == syscall.SIGINT {
					last = time.Now()
				}
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

// terminal prepares e and s for a terminal, in raw mode when it is read. The returned function puts it right; it may be
// called more than once.
func terminal(ctx context.Context, e *wire.Exec, s *agentclient.Streams, read bool) (restore func(), err error) {
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
func (a *app) execEither(ctx context.Context, m *vm.Manager, c *agentclient.Client, name string, argv []string, e wire.Exec, o execOptions, silent error) error {
	left := o.wait - c.Patience
	if left <= 0 {
		return a.noAnswer(name, o, silent)
	}
	trial, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	agent, serial := make(chan error, 1), make(chan error, 1)
	go func() { agent <- c.Wait(trial) }()
	go func() {
		_, err := console.Exec(trial, m.Home.VMDir(name), []string{"true"}, console.ExecOptions{WaitBoot: left, Alive: c.Alive})
		serial <- err
	}()
	var failed error
	for range 2 {
		select {
		case err := <-agent:
			if err == nil {
				cancel()
				<-serial // it gets the console back in order
				c.Patience = fallbackAfter
				return a.execAgent(ctx, c, name, e, o)
			}
			failed = err
		case err := <-serial:
			if err == nil {
				cancel()
				a.say("noid: the agent of vm %q does not answer", name)
				return a.execSerial(ctx, m, name, argv, o)
			}
		}
		if errors.Is(failed, errs.ErrState) || ctx.Err() != nil {
			return execError(name, failed)
		}
	}
	return a.noAnswer(name, o, silent)
}

func (a *app) noAnswer(name string, o execOptions, err error) error {
	err = errs.Mark(fmt.Errorf("exec timed out: in vm %q neither the agent nor a shell on the console answered within %s: %w", name, o.wait, err), errs.ErrTimeout)
	return errs.WithHint(err, "the boot has not finished or failed: 'noid logs "+name+"' shows it; --wait-timeout waits longer")
}
