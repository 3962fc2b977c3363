package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/link"
	"noid/internal/link/wire"
)

// Command is what Exec runs in a guest.
type Command struct {
	Argv  []string
	Shell bool     // the user's login shell, with Argv ignored
	Env   []string // KEY=VALUE, beside the image's and the user's own
	Dir   string   // default: the image's, else the user's home
	User  string   // USER[:GROUP], names or numbers; default the image's, else root
	Stdin bool     // it gets Streams.In; else nothing
	TTY   bool     // it gets a terminal
	Size  *Size    // of the terminal
	Term  string   // its TERM
	// Timeout ends the command after so long: SIGTERM, SIGKILL 5 s later. 0: never.
	Timeout time.Duration
	// Wait is how long to wait for the guest to be up.
	Wait   time.Duration
	Detach bool // it runs on; Exit.Job names it
	Await  bool // with Detach: no output is lost until somebody attaches, within seconds
	Serial bool // over the serial console, even when there is an agent
	// Auto, if not "", holds for the command in place of the VM's own: config.AutoExec or AutoOff.
	Auto string
	// Turn is the client's turn that the command belongs to, for the checkpoint before it: see CheckpointAuto.
	Turn string
	// stopSignal, if not 0, is sent to it when the guest is to power off, which waits for its end.
	stopSignal int
}

// Size is a terminal's, in characters.
type Size = wire.Size

// Streams are what a command is connected to. Each may be nil.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Resize   <-chan Size
	Signals  <-chan int // for the command; Linux's numbers
	// Begin is called once, right before the command is sent to a guest whose agent answers: from then on Signals is
	// read. An error of it is Exec's. A command over the serial console has no signals: cancel ctx.
	Begin func() error
	// End is called by Run when the command has ended, before noid says anything.
	End func()
}

// Exit is how a command ended.
type Exit struct {
	Code     int    // 128+N for signal N, 127 not found, 126 not executable
	Signal   int    // that ended it; 0 for none
	TimedOut bool   // Command.Timeout ran out
	Error    string // why it could not run, fit for a terminal
	Lost     uint64 // bytes of output that were dropped while nobody was attached
	Job      string // its id, for Signal; with Command.Detach alone, when it could run
	PID      int    // likewise its process in the guest; 0 where an older agent does not say
}

// Exec runs c in the guest of name and returns how it ended. It waits for the guest to be up. Output comes as the
// command writes it, every byte once, also over a checkpoint of the VM.
//
// A guest without the agent gets the command over its serial console, as does one whose agent stays silent though its
// root file system has written to the console, unless noid-init has said that the agent runs. Output and error are one
// there, and input, a terminal, a user and Detach are refused.
//
// Errors:
//   - context.Canceled: ctx was cancelled; the guest hangs the command up
//   - errs.ErrUsage: c asks for what the serial console cannot do
//   - errs.ErrState: the VM does not run, is paused, or ended meanwhile
//   - errs.ErrTimeout: the guest did not answer within c.Wait
//   - what writing to s.Out or s.Err failed with
func (m *Manager) Exec(ctx context.Context, name string, c Command, s Streams) (Exit, error) {
	if err := c.checkWhole(); err != nil {
		return Exit{}, err
	}
	verb := "exec"
	if c.Shell {
		verb = "shell"
	}
	v, err := m.running(ctx, name, verb)
	if err != nil {
		return Exit{}, err
	}
	return v.exec(ctx, c, s)
}

// check refuses a command that no guest can run.
func (c Command) check() error {
	for _, arg := range c.Argv {
		if strings.ContainsRune(arg, 0) {
			return errs.New(errs.ErrUsage, "the command contains a NUL byte")
		}
	}
	if c.Auto != "" && c.Auto != config.AutoExec && c.Auto != config.AutoOff {
		return errs.New(errs.ErrUsage, "auto: %.40q of a command is neither exec nor off", c.Auto)
	}
	return checkTurn(c.Turn)
}

// checkWhole is check of a command that nothing is added to.
func (c Command) checkWhole() error {
	if len(c.Argv) == 0 && !c.Shell {
		return errs.New(errs.ErrUsage, "no command given").Hint("name a program and its arguments")
	}
	return c.check()
}

// exec is Exec in the VM of the session.
func (s *session) exec(ctx context.Context, c Command, streams Streams) (exit Exit, err error) {
	switch {
	case c.Serial || !s.vm.Machine.Agent && !c.Shell:
		return s.execSerial(ctx, c, streams)
	case !s.vm.Machine.Agent:
		return Exit{}, s.errNoAgent("'noid console " + s.vm.Name + "' attaches to its console")
	}
	patience := max(c.Wait, time.Millisecond)
	if !c.Shell {
		patience = s.patience(c.Wait)
	}
	err = s.introduce(ctx, patience)
	switch {
	case err == nil:
		exit, err = s.execAgent(ctx, c, streams, patience)
	case c.Shell || !errors.Is(err, link.ErrNoAnswer):
		err = s.execError(err)
	}
	if c.Shell || !errors.Is(err, link.ErrNoAnswer) {
		return exit, err
	}
	return s.execEither(ctx, c, streams, err)
}

// execAgent is Exec over the agent, which is tried for patience, in a guest that knows all that it must be told.
func (s *session) execAgent(ctx context.Context, c Command, streams Streams, patience time.Duration) (exit Exit, err error) {
	defer func() { s.line.Close() }() // that of the checkpoint before, if no command has taken it
	if err := s.beforeCommand(ctx, c); err != nil {
		return Exit{}, s.execError(err)
	}
	if streams.Begin != nil {
		if err := streams.Begin(); err != nil {
			return Exit{}, s.execError(err)
		}
	}
	return s.execNow(ctx, c, streams, patience)
}

// execNow is execAgent of a command that the history knows of already.
func (s *session) execNow(ctx context.Context, c Command, streams Streams, patience time.Duration) (Exit, error) {
	defer s.noteTouched()
	defer s.touchStill()
	if streams.In != nil {
		streams.In = touching{streams.In, s.touch}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client, started := s.agent(), make(chan struct{})
	client.Patience = patience
	go s.lookAgain(ctx, cancel, started)
	placeholders, err := s.secretEnv(ctx, client)
	if err != nil {
		return Exit{}, s.execError(err)
	}
	placeholders = append(placeholders, s.socketEnv()...)
	c.Env = append(placeholders, c.Env...) // what the user names comes last, and holds
	e := c.withImage(s.vm.Image).wire()
	if c.Detach {
		job, unfit, err := client.Start(ctx, e)
		switch {
		case err != nil:
			return Exit{}, s.execError(err)
		case unfit != nil:
			return Exit{Code: unfit.Code, Error: unfit.Error}, nil
		}
		return Exit{Job: job.ID, PID: job.PID}, nil
	}
	exit, err := client.Exec(ctx, e, link.Streams{In: streams.In, Out: streams.Out, Err: streams.Err, Resize: streams.Resize,
		Signals: streams.Signals, Started: func() { close(started) }})
	switch {
	case err != nil && err == context.Cause(ctx): // the caller's, or lookAgain's in words of its own
		return Exit{}, err
	case err != nil:
		return Exit{}, s.execError(err)
	}
	return exitOf(exit), nil
}

func exitOf(e wire.Exit) Exit {
	return Exit{Code: e.Code, Signal: e.Signal, TimedOut: e.TimedOut, Error: e.Error, Lost: e.Lost}
}

// execEither goes on after the agent has not answered for a while, which silent says: a kernel that cannot load noid's
// initramfs has no agent. Whichever of agent and console answers first gets the command.
func (s *session) execEither(ctx context.Context, c Command, streams Streams, silent error) (Exit, error) {
	left := c.Wait - s.patience(c.Wait)
	if left <= 0 {
		return Exit{}, s.noAnswer(c, silent)
	}
	agent, err := s.firstToAnswer(ctx, left)
	_, state := errors.AsType[stateError](err)
	switch {
	case state || ctx.Err() != nil:
		return Exit{}, s.execError(err)
	case err != nil:
		return Exit{}, s.noAnswer(c, silent)
	case agent:
		os.Remove(s.file(silentFile))
		if err := s.announce(ctx); err != nil {
			return Exit{}, s.execError(err)
		}
		return s.execAgent(ctx, c, streams, fallbackAfter)
	}
	s.noteSilent()
	s.notice(fmt.Sprintf("the agent of vm %q does not answer", s.vm.Name))
	return s.execSerial(ctx, c, streams)
}

// wire is c as the agent is asked for it.
func (c Command) wire() wire.Exec {
	e := wire.Exec{Argv: byteSlices(c.Argv), Shell: c.Shell, Env: byteSlices(c.Env), Dir: c.Dir, User: c.User, TTY: c.TTY, Size: c.Size, Term: c.Term,
		Stdin: c.Stdin, TimeoutMs: c.Timeout.Milliseconds(), StopSignal: c.stopSignal, Await: c.Await}
	if c.Timeout > 0 {
		e.TimeoutMs = max(e.TimeoutMs, 1)
	}
	return e
}

func byteSlices(list []string) [][]byte {
	out := make([][]byte, len(list))
	for i, s := range list {
		out[i] = []byte(s)
	}
	return out
}

// ErrGuest is what a guest refuses or could not do, with no fault of noid's.
var ErrGuest = errors.New("in the guest")

// ErrGuestFull is a file system of the guest's that has no room.
var ErrGuestFull = errors.New("no space left in the guest")

// execError says where err happened. What the guest refuses, a user that it does not have, is no wrong usage of noid.
func (s *session) execError(err error) error {
	if errors.Is(err, link.ErrDead) {
		err = s.explain(err)
	}
	if errors.Is(err, errs.ErrUsage) {
		return errs.Mark(fmt.Errorf("exec in vm %q: %v", s.vm.Name, err), ErrGuest)
	}
	return s.errorf("exec in", err)
}

func (s *session) noAnswer(c Command, err error) error {
	return errs.New(errs.ErrTimeout, "exec timed out: in vm %q neither the agent nor a shell on the console answered within %s: %w", s.vm.Name, c.Wait, err).
		Hint("the boot has not finished or failed: 'noid logs " + s.vm.Name + "' shows it; --wait-timeout waits longer; a guest that sleeps wakes by 'noid resume " + s.vm.Name + "'")
}
