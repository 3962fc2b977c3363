// Package link is the host's client of the guest's agent. It runs commands, lists and signals them, and reports to the
// guest what happens to its VM. It speaks package wire over connections that the caller dials.
//
// A command outlives its connections. One breaks when the VM is checkpointed or paused. Then the client dials again and
// continues, so that every byte arrives once.
//
// The guest is hostile. Every buffer, count and wait is bounded, and offsets are checked against the protocol. Text
// from the guest is cut, and made safe by package untrusted before it gets into an error.
package link

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"noid/internal/errs"
	"noid/internal/link/wire"
	"noid/internal/untrusted"
)

// Client reaches the agent of one guest. Its methods may be called side by side: each uses connections of its own.
type Client struct {
	// Dial makes a fresh connection to the guest's agent. It honours its context.
	Dial func(ctx context.Context) (net.Conn, error)
	// Alive says whether the VMM still runs. Nil stands for one that always does.
	Alive func() bool
	// Release is noid's own version, for the agent's messages.
	Release string
	// Paused says that the guest does not run now, or that nobody can tell. It may be nil, and block for a second. With
	// it Exec gives up an agent that took a command and then does not answer for lostAfter in a guest that runs.
	Paused func(ctx context.Context) bool
	// Patience is how long Exec and Start try to reach an agent that never answered. One that did gets longer. 0 is no
	// limit.
	Patience time.Duration
	// Line, if not nil, is what the first request is asked on, in place of a connection of its own.
	Line *Line
}

// Line is a connection to the agent on which something was asked already. Who has one gives it to a Client or closes it.
// Nil is one that is closed.
type Line struct{ link atomic.Pointer[link] }

// Close gives it back. It may be repeated, also after a Client has used it.
func (l *Line) Close() {
	if conn := l.take(); conn != nil {
		conn.Close()
	}
}

// take returns the connection, once.
func (l *Line) take() *link {
	if l == nil {
		return nil
	}
	return l.link.Swap(nil)
}

// ErrNoAnswer is an agent that never answered: nothing was asked of it, so nothing was done.
var ErrNoAnswer = errors.New("the guest's agent does not answer")

// ErrDead is a VMM that has ended, whatever was asked of its guest.
var ErrDead = errs.New(errs.ErrState, "the VM died")

var errSlow = errors.New("no answer in time")

// Waits. An emulated guest on a busy host takes a second for what takes a millisecond with KVM.
const (
	firstTry   = 2 * time.Second // of the first attempt to connect; each later one has twice as long
	answerTime = 10 * time.Second
	hooksTime  = 60 * time.Second // a guest's own hooks after a restore have 30 s
	pauseMin   = 5 * time.Millisecond
	pauseMax   = 200 * time.Millisecond
	alivePoll  = 200 * time.Millisecond
	leaveTime  = time.Second // for the last frame of one who leaves
)

// maxText is how many characters of a guest's text are kept.
const maxText = 512

func clean(s string) string { return untrusted.Line(s, maxText) }

func (c *Client) alive() bool { return c.Alive == nil || c.Alive() }

// watch returns a context that ends when the VMM does, with ErrDead as its cause.
func (c *Client) watch(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if c.Alive == nil {
		return ctx, func() { cancel(nil) }
	}
	go func() {
		tick := time.NewTicker(alivePoll)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if !c.Alive() {
					cancel(ErrDead)
					return
				}
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// link is a connection on which both Hellos were said.
type link struct {
	net.Conn
	in    *wire.Reader
	agent string // whose it is: wire.Hello.Agent
}

// failure is why an attempt to ask something failed.
type failure struct {
	err   error
	heard bool // the agent said Hello
	asked bool // the request was written, at least in part
	final bool // trying again is no use
	// mute is a connection on which an exec got no answer in time. It stays open until the next one stands: the agent
	// takes a closed one for a host that has left, and hangs up the command that it may have started.
	mute net.Conn
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// ask makes a connection and asks req on it. patience bounds the time until the agent's Hello, answer that from there
// to the reply. A reply that is an error of the agent's is no failure. What is in then is asked right behind req: the
// caller reads these replies.
func (c *Client) ask(ctx context.Context, req wire.Request, patience, answer time.Duration, then ...wire.Request) (*link, wire.Reply, *failure) {
	f := &failure{}
	l, reply, err := c.try(ctx, append([]wire.Request{req}, then...), patience, answer, f)
	if err == nil {
		return l, reply, nil
	}
	f.err = err
	f.final = f.final || errors.Is(err, wire.ErrProtocol) || errors.Is(err, ErrDead)
	return nil, reply, f
}

func (c *Client) try(ctx context.Context, reqs []wire.Request, patience, answer time.Duration, f *failure) (_ *link, reply wire.Reply, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(patience, func() { cancel(errSlow) })
	defer timer.Stop()
	l := c.Line.take()
	var conn net.Conn
	if l != nil {
		conn = l.Conn
	} else if conn, err = c.Dial(ctx); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		err = fmt.Errorf("connecting to the guest's agent: %w", err)
		if f.final = errors.Is(err, syscall.EMFILE); f.final { // no try but in another process is better
			err = errs.WithHint(errs.Mark(err, errs.ErrHost), "raise the limit of open files: ulimit -n 256")
		}
		return nil, reply, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil { // the deadline is set, or will be
			err = context.Cause(ctx)
		}
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if f.asked && reqs[0].Op == wire.OpExec && errors.Is(err, errSlow) {
				f.mute = conn
			} else {
				conn.Close()
			}
		}
	}()
	if l == nil {
		l = &link{Conn: conn, in: wire.NewReader(bufio.NewReaderSize(conn, wire.MaxData))}
		if err := l.hello(c.Release, f); err != nil {
			return nil, reply, fmt.Errorf("greeting the guest's agent: %w", err)
		}
	}
	f.heard = true
	timer.Reset(answer)
	var msg []byte
	for _, req := range reqs {
		if msg, err = wire.AppendMessage(msg, wire.TypeRequest, stamped(req)); err != nil {
			f.final = true
			return nil, reply, errs.Mark(err, errs.ErrUsage)
		}
	}
	f.asked = true
	if _, err := conn.Write(msg); err != nil {
		return nil, reply, fmt.Errorf("asking the guest's agent: %w", err)
	}
	if reply, err = l.reply(); err != nil {
		return nil, reply, fmt.Errorf("waiting for the guest's agent: %w", err)
	}
	return l, reply, nil
}

// hello exchanges the Hellos.
func (l *link) hello(release string, f *failure) error {
	b, err := wire.AppendMessage(nil, wire.TypeHello, wire.Hello{Version: wire.Version, Min: wire.MinVersion, Release: release})
	if err != nil {
		return err
	}
	if _, err := l.Write(b); err != nil {
		return err
	}
	frame, err := l.in.Read()
	if err != nil {
		return err
	}
	var theirs wire.Hello
	if err := frame.Decode(&theirs); err != nil {
		return err
	}
	if theirs.Version < wire.MinVersion || theirs.Version > wire.Version {
		f.final = true
		why := clean(theirs.Error)
		if why == "" {
			why = fmt.Sprintf("it chose protocol version %d", theirs.Version)
		}
		err := errs.New(errs.ErrHost, "noid and the guest's agent %q have no protocol version in common: %s", clean(theirs.Release), why)
		return errs.WithHint(err, "the agent is the one that the VM was booted with: use that noid, or stop and start the VM")
	}
	l.agent = cut(theirs.Agent)
	return nil
}

// reply reads the Reply.
func (l *link) reply() (wire.Reply, error) {
	frame, err := l.in.Read()
	if err != nil {
		return wire.Reply{}, err
	}
	if frame.Type != wire.TypeReply {
		return wire.Reply{}, fmt.Errorf("%w: frame of type %d instead of a reply", wire.ErrProtocol, frame.Type)
	}
	// A job is much larger in memory than the shortest JSON of one: they are decoded singly, up to a bound.
	var raw struct {
		wire.Reply
		Jobs json.RawMessage `json:"jobs"`
	}
	if err := frame.Decode(&raw); err != nil {
		return wire.Reply{}, err
	}
	raw.Reply.Jobs, err = decodeJobs(raw.Jobs)
	return raw.Reply, err
}

// refused turns an error of the agent's into one of noid's kinds.
func refused(r wire.Reply) error {
	if r.Error == "" {
		return nil
	}
	err := errors.New(clean(r.Error))
	switch r.Kind {
	case wire.KindNoJob:
		return errs.Mark(err, errs.ErrNotFound)
	case wire.KindUsage:
		return errs.Mark(err, errs.ErrUsage)
	case wire.KindBusy:
		return errs.Mark(err, errs.ErrBusy)
	}
	return fmt.Errorf("the guest's agent: %w", err)
}

// sleep waits for d, or less when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
