package link

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"noid/internal/errs"
	"noid/internal/link/wire"
)

// Streams are what a command is connected to.
type Streams struct {
	// In is read only when wire.Exec.Stdin is set, and only when the guest has room. Nil is empty. Exec does not wait
	// for a Read that blocks: what that reads afterwards is lost.
	In io.Reader
	// Out and Err get what the command writes. Nil discards. A slow Write slows the command. Exec returns when all is
	// written. When it fails or is cancelled, a Write that blocks may outlast it.
	Out, Err io.Writer
	// Resize brings the terminal's new sizes, Signals the signals for the command. Neither need be closed. A signal
	// that comes before the agent has taken the command ends Exec. So does one for a command whose agent does not
	// answer any more.
	Resize  <-chan wire.Size
	Signals <-chan int
	// Started, if set, is called once, when the agent has taken the command.
	Started func()
}

const (
	timeoutGrace = 15 * time.Second // after wire.Exec.TimeoutMs for the guest, which kills after 5 s
	maxMute      = 10               // attempts in a row at which the agent greets and then does not reply
	settled      = time.Second      // a connection that lasted so long or brought something was a good one
	drainTime    = time.Second      // for what a dead VMM's connection still holds
	nudgeEvery   = time.Second      // of silence, after which a frame finds out whether the connection still stands
	silence      = 20 * time.Second // at least, of an agent that spoke and has not said that it took the command
	firstReply   = 3 * time.Second  // for the first Reply, which a snapshot may have cut off; asking twice starts once
	lostAfter    = 2 * time.Minute  // without the agent that took the command, in a guest that runs
	lookEvery    = 5 * time.Second  // whether it does
)

// newJob picks an id.
func newJob() string {
	var id [8]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// Exec runs a command and returns how it ended. e.Job is filled in. When the connection breaks it dials again and goes
// on where it was, for as long as the VMM lives and ctx lets it.
//
// A cancelled ctx has the guest hang the command up, and ctx's cause is returned. Other errors:
//   - ErrNoAnswer: Patience ran out;
//   - errs.ErrTimeout alone: an agent that had spoken never said that it took the command;
//   - errs.ErrState: the VM or the agent died, or the guest went back to a time before the command;
//   - errs.ErrUsage, errs.ErrBusy: the agent refused;
//   - wire.ErrProtocol;
//   - what a Write to Out or Err failed with: the command was hung up.
func (c *Client) Exec(ctx context.Context, e wire.Exec, s Streams) (wire.Exit, error) {
	e.Job, e.Attach = newJob(), false
	if err := check(e); err != nil {
		return wire.Exit{}, err
	}
	return c.follow(ctx, e, s)
}

// Attach goes on with a detached job, named by the beginning of its id, as Exec does with what it has started. Out and
// Err get what the guest has kept of the output and nobody has had. When ctx is cancelled the job runs on. No such job
// is errs.ErrNotFound, several are errs.ErrUsage; errs.ErrBusy is one that is not detached, or has a host.
func (c *Client) Attach(ctx context.Context, job string, s Streams) (wire.Exit, error) {
	jobs, err := c.Jobs(ctx)
	if err != nil {
		return wire.Exit{}, err
	}
	var found []wire.Job
	for _, j := range jobs {
		if strings.HasPrefix(j.ID, job) {
			found = append(found, j)
		}
	}
	switch {
	case len(found) == 0:
		return wire.Exit{}, errs.New(errs.ErrNotFound, "no job %q in the guest", job)
	case len(found) > 1:
		return wire.Exit{}, errs.New(errs.ErrUsage, "%d jobs begin with %q", len(found), job)
	case !found[0].Detached:
		return wire.Exit{}, errs.New(errs.ErrBusy, "job %q was not started detached", job)
	case found[0].Attached:
		return wire.Exit{}, errs.New(errs.ErrBusy, "another noid is attached to job %q", job)
	}
	return c.follow(ctx, wire.Exec{Job: found[0].ID, Attach: true}, s)
}

// follow is Exec for a job that e starts or, with Attach, that runs already.
func (c *Client) follow(ctx context.Context, e wire.Exec, s Streams) (wire.Exit, error) {
	j := newJobState(e, s)
	defer j.stop()
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	j.cancel, j.answers = cancel, c.Wait
	go j.listen(running)
	err := c.run(running, j)
	switch {
	case err == nil:
		return *j.exit, j.flush(ctx)
	case errors.Is(err, errTimedOut):
		j.flush(ctx)
		return wire.Exit{Code: 128 + int(syscall.SIGTERM), Signal: int(syscall.SIGTERM), TimedOut: true, Error: errTimedOut.Error()}, nil
	case running.Err() == nil:
		j.flush(ctx) // what came before belongs to the caller
	}
	return wire.Exit{}, err
}

// Start starts a command that nobody is attached to, and returns its id and, if the agent says so, its process; or why it
// cannot run. Its errors are Exec's.
func (c *Client) Start(ctx context.Context, e wire.Exec) (job wire.Job, unfit *wire.Exit, err error) {
	e.Job, e.Attach, e.Detach = newJob(), false, true
	if err := check(e); err != nil {
		return wire.Job{}, nil, err
	}
	l, reply, err := c.attach(ctx, func() wire.Exec { return e }, true)
	if err != nil {
		return wire.Job{}, nil, err
	}
	l.Close()
	if reply.Exit == nil {
		return wire.Job{ID: e.Job, PID: reply.PID}, nil, nil
	}
	return wire.Job{}, reply.Exit, checkExit(reply.Exit)
}

// check finds what no agent would take.
func check(e wire.Exec) error {
	if len(e.Argv) == 0 && !e.Shell {
		return errs.New(errs.ErrUsage, "no command given")
	}
	if _, err := wire.AppendMessage(nil, wire.TypeRequest, wire.Request{Op: wire.OpExec, Exec: &e}); err != nil {
		return errs.New(errs.ErrUsage, "arguments and environment are too long: %w", err)
	}
	return nil
}

// run takes the command through its connections until its Exit.
func (c *Client) run(ctx context.Context, j *job) error {
	pause := pauseMin
	for first := true; ; first = false {
		l, reply, err := c.attach(ctx, j.request, first)
		switch {
		case errors.Is(err, errGone) && l.agent != j.agent && j.agent != "":
			return errRestarted
		case err != nil:
			return err
		}
		j.agent = l.agent
		began, before := time.Now(), j.progress()
		if err := j.attached(reply, first); err != nil {
			l.Close()
			return err
		}
		if err = c.serve(ctx, j, l); !errors.Is(err, errBroken) {
			return err
		}
		if !c.alive() {
			return ErrDead
		}
		// A guest that breaks every connection as soon as it stands wastes its own time only.
		if pause = min(2*pause, pauseMax); time.Since(began) > settled || j.progress() != before {
			pause = pauseMin
		}
		sleep(ctx, pause)
	}
}

// attach reaches the agent and has it start the command or attach to it again. With errGone the link tells the agent.
func (c *Client) attach(ctx context.Context, request func() wire.Exec, first bool) (*link, wire.Reply, error) {
	watched, stop := c.watch(ctx)
	defer stop()
	last, mute, limit, asked := time.Now(), 0, c.Patience, false // last is when the agent said something
	if !first {
		limit = 0 // the command runs, and its guest may stand still for days
		if c.Paused != nil {
			limit = lostAfter
		}
	}
	looked := last
	var t tries
	for {
		patience := t.patience()
		if limit > 0 {
			patience = max(min(patience, limit-time.Since(last)), time.Millisecond)
		}
		e := request()
		answer := answerTime
		if mute == 0 {
			answer = firstReply
		}
		l, reply, f := c.ask(watched, wire.Request{Op: wire.OpExec, Exec: &e}, patience, answer)
		if f == nil {
			if reply.Error == "" {
				return l, reply, nil
			}
			l.Close()
			if e.Attach && reply.Kind == wire.KindNoJob {
				return l, reply, errGone
			}
			return nil, reply, refused(reply)
		}
		if f.mute != nil {
			defer f.mute.Close()
		}
		if f.heard && limit > 0 {
			last, limit = time.Now(), max(limit, silence)
		}
		if mute++; !f.asked {
			mute = 0
		}
		asked = asked || f.asked
		if limit > 0 && !first && time.Since(looked) > lookEvery {
			if c.Paused(ctx) {
				last = time.Now()
			}
			looked = time.Now()
		}
		switch {
		case ctx.Err() != nil:
			return nil, reply, context.Cause(ctx)
		case f.final || mute == maxMute:
			return nil, reply, c.because(f)
		case limit > 0 && time.Since(last) >= limit && !first && c.alive():
			return nil, reply, errs.New(errs.ErrState, "the command is lost: the guest's agent does not answer any more: %w", f)
		case limit > 0 && time.Since(last) >= limit && c.alive():
			err := fmt.Errorf("%w: %w", ErrNoAnswer, f)
			if asked {
				err = fmt.Errorf("the guest's agent fell silent, the command may have begun: %w", f)
			}
			return nil, reply, errs.Mark(err, errs.ErrTimeout)
		}
		if err := t.pause(watched, c, f); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return nil, reply, err
		}
	}
}

var (
	errBroken    = errors.New("the connection to the guest's agent broke")
	errGone      = errs.New(errs.ErrState, "the guest no longer knows the command: it went back to a time before it, or rebooted")
	errRestarted = errs.New(errs.ErrState, "the command is lost: the guest's agent was killed, or the guest rebooted").Hint("the agent is back: the next command works")
	errWentBack  = errs.New(errs.ErrState, "the guest went back to an earlier time while the command ran")
	errTimedOut  = errors.New("the guest did not say in time that the command was ended")
)

// serve moves the command's streams over l until the command ends (nil), the connection breaks (errBroken), or another
// error. It closes l.
func (c *Client) serve(ctx context.Context, j *job, l *link) error {
	received, sent := make(chan error, 1), make(chan error, 1)
	quit := make(chan struct{})
	go func() { received <- j.receive(l.in) }()
	go func() { sent <- j.send(l, quit) }()
	var err error
	var dying <-chan time.Time
	tick, heard := time.NewTicker(nudgeEvery), j.progress()
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case err = <-received:
			received, waiting = nil, false
		case err = <-sent: // what the guest sent before may be the reason: read it out
			sent = nil
			l.SetReadDeadline(time.Now().Add(drainTime))
		case err = <-j.broken:
			waiting = false
		case <-ctx.Done():
			err, waiting = context.Cause(ctx), false
		case <-dying:
			err, waiting = errBroken, false
		case <-tick.C:
			if dying == nil && !c.alive() {
				dying = time.After(drainTime)
			}
			if now := j.progress(); now == heard {
				j.nudge()
			} else {
				heard = now
			}
		}
	}
	close(quit)
	if sent != nil {
		l.SetWriteDeadline(time.Now().Add(leaveTime)) // of a frame that is on its way
		if <-sent == nil && !errors.Is(err, errBroken) {
			l.SetWriteDeadline(time.Now().Add(leaveTime))
			l.Write(wire.AppendDone(nil)) // without it the guest learns it later
		}
	}
	l.Close()
	if received != nil {
		<-received
	}
	return err
}
