package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"noid/internal/errs"
	"noid/internal/link/wire"
)

// Bounds of what a guest may list.
const (
	maxJobs      = 2*wire.MaxJobs + 128 // those that run, and those that ended detached or wait for their host
	maxAddresses = 64
)

// Ping asks the agent once whether it is there.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.call(ctx, 0, wire.Request{Op: wire.OpPing}, once, answerTime)
	return err
}

// Wait returns when the agent answers. It fails with errs.ErrTimeout when ctx ends before that, and at once with
// errs.ErrState when the VMM is dead.
func (c *Client) Wait(ctx context.Context) error {
	_, err := c.call(ctx, 0, wire.Request{Op: wire.OpPing}, always, answerTime)
	if err != nil && ctx.Err() != nil && !errors.Is(err, errs.ErrState) {
		return errs.New(errs.ErrTimeout, "waiting for the guest's agent: %w", err)
	}
	return err
}

// Jobs lists the guest's jobs. Their text is the guest's: not fit for a terminal before it is sanitised.
func (c *Client) Jobs(ctx context.Context) ([]wire.Job, error) {
	reply, err := c.call(ctx, 0, wire.Request{Op: wire.OpJobs}, always, answerTime)
	return reply.Jobs, err
}

// Kill sends a signal to the process group of a job, named by the beginning of its id. No such job is errs.ErrNotFound,
// several are errs.ErrUsage.
func (c *Client) Kill(ctx context.Context, job string, signal int) error {
	_, err := c.call(ctx, 0, wire.Request{Op: wire.OpKill, Job: job, Signal: signal}, unasked, answerTime)
	return err
}

// fullWait is between two looks whether a command reads its input.
const fullWait = 50 * time.Millisecond

// Input gives the job of this id input, in order, and waits until the guest has all of it. It is for jobs to whose input
// no other Client writes. No such job is errs.ErrNotFound, one without input errs.ErrUsage.
func (c *Client) Input(ctx context.Context, job string, in wire.Input) error {
	for data := in.Data; ; {
		next := wire.Input{Data: data[:min(len(data), wire.MaxData)], Size: in.Size}
		next.EOF = in.EOF && len(next.Data) == len(data)
		reply, err := c.call(ctx, 0, wire.Request{Op: wire.OpInput, Job: job, Input: &next}, unasked, answerTime)
		if err != nil {
			return err
		}
		if reply.Stdin > uint64(len(next.Data)) {
			return fmt.Errorf("%w: %d bytes of the input taken of %d", wire.ErrProtocol, reply.Stdin, len(next.Data))
		}
		if data = data[reply.Stdin:]; len(data) == 0 {
			return nil
		}
		if reply.Stdin == 0 {
			sleep(ctx, fullWait)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
}

// Info asks what the guest says of itself. Its text is the guest's: not fit for a terminal before it is sanitised.
func (c *Client) Info(ctx context.Context) (wire.Info, error) {
	reply, err := c.call(ctx, 0, wire.Request{Op: wire.OpInfo}, always, answerTime)
	if err != nil {
		return wire.Info{}, err
	}
	if reply.Info == nil {
		return wire.Info{}, fmt.Errorf("%w: a reply without information", wire.ErrProtocol)
	}
	i := *reply.Info
	i.Release, i.Kernel, i.Hostname = cut(i.Release), cut(i.Kernel), cut(i.Hostname)
	for n := range i.Load {
		i.Load[n] = cut(i.Load[n])
	}
	i.Addresses = i.Addresses[:min(len(i.Addresses), maxAddresses)]
	for n := range i.Addresses {
		i.Addresses[n] = cut(i.Addresses[n])
	}
	return i, nil
}

// Freeze tells the agent, once, that a snapshot or a pause comes. keepClock: after the thaw, a guest's clock that
// somebody has set on purpose, over a minute from the host's, is as far from it.
func (c *Client) Freeze(ctx context.Context, keepClock bool) error {
	req := wire.Request{Op: wire.OpFreeze}
	if keepClock {
		req.Clock = now
	}
	_, err := c.call(ctx, 0, req, once, answerTime)
	return err
}

// SyncAndFreeze is Freeze, before which the guest writes back what its root file system has not on its disk yet: synced
// says whether it has. Both are asked on one connection, once and at once. An agent of an older noid may refuse the
// first. The caller bounds it by ctx.
func (c *Client) SyncAndFreeze(ctx context.Context, keepClock bool) (synced bool, err error) {
	freeze := wire.Request{Op: wire.OpFreeze}
	if keepClock {
		freeze.Clock = now
	}
	ctx, stop := c.watch(ctx)
	defer stop()
	l, reply, f := c.ask(ctx, wire.Request{Op: wire.OpSync}, firstTry, answerTime, freeze)
	if f != nil {
		return false, c.because(f)
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.SetDeadline(time.Unix(1, 0)) })()
	frozen, err := l.reply()
	if err != nil {
		return reply.Error == "", fmt.Errorf("waiting for the guest's agent: %w", err)
	}
	return reply.Error == "", refused(frozen)
}

// Thaw tells the agent that it is over, and has it set the guest's clock by the host's. The connection is kept for what
// is asked next.
func (c *Client) Thaw(ctx context.Context) (*Line, error) {
	l, _, err := c.reach(ctx, 0, wire.Request{Op: wire.OpThaw, Clock: now}, always, answerTime)
	if err != nil {
		return nil, err
	}
	line := &Line{}
	line.link.Store(l)
	return line, nil
}

// Restored tells the guest that it was loaded from a snapshot. r.Clock is filled in. hooks says what failed in the
// guest's own hooks; the rest was done all the same. An agent that does not take the request within wait is
// errs.ErrTimeout.
func (c *Client) Restored(ctx context.Context, wait time.Duration, r wire.Restored) (hooks string, err error) {
	r.Clock = now
	reply, err := c.call(ctx, wait, wire.Request{Op: wire.OpRestored, Restored: &r}, unasked, hooksTime)
	return clean(reply.Hooks), err
}

// Look tells the guest that it is a clone that somebody looks into: its clock, its identity and its jobs stay, and no
// hooks run. An agent of an older noid goes on without. Otherwise it is as Restored.
func (c *Client) Look(ctx context.Context, wait time.Duration, seed []byte) error {
	_, err := c.call(ctx, wait, wire.Request{Op: wire.OpLook, Restored: &wire.Restored{Seed: seed}}, unasked, answerTime)
	if errors.Is(err, errs.ErrUsage) {
		return nil
	}
	return err
}

// Poweroff asks the guest to go down. It does not wait for that.
func (c *Client) Poweroff(ctx context.Context) error {
	_, err := c.call(ctx, 0, wire.Request{Op: wire.OpPoweroff}, unasked, answerTime)
	return err
}

// now, as a Clock, is the time at which the request is sent.
const now = -1

// again says when a call that failed is tried again.
type again int

const (
	once    again = iota
	unasked       // while the agent cannot have got the request
	always        // until ctx ends: what may be asked twice
)

// call asks req, which is not OpExec, and again when the connection breaks, as retry says. It gives up when the agent
// has not taken the request within wait, unless that is 0.
func (c *Client) call(ctx context.Context, wait time.Duration, req wire.Request, retry again, answer time.Duration) (wire.Reply, error) {
	l, reply, err := c.reach(ctx, wait, req, retry, answer)
	if l != nil {
		l.Close()
	}
	return reply, err
}

// reach is call that keeps the connection, unless it fails.
func (c *Client) reach(ctx context.Context, wait time.Duration, req wire.Request, retry again, answer time.Duration) (*link, wire.Reply, error) {
	ctx, stop := c.watch(ctx)
	defer stop()
	began, t := time.Now(), tries{}
	for {
		patience := t.patience()
		if wait > 0 {
			patience = max(min(patience, wait-time.Since(began)), time.Millisecond)
		}
		l, reply, f := c.ask(ctx, req, patience, answer)
		if f == nil {
			if err := refused(reply); err != nil {
				l.Close()
				return nil, reply, err
			}
			return l, reply, nil
		}
		if f.final || retry == once || retry == unasked && f.asked {
			return nil, reply, c.because(f)
		}
		if wait > 0 && time.Since(began) >= wait && c.alive() {
			return nil, reply, errs.New(errs.ErrTimeout, "waiting for the guest's agent: %w", f)
		}
		if err := t.pause(ctx, c, f); err != nil {
			return nil, reply, err
		}
	}
}

// because is err, or that the VM died when that explains it.
func (c *Client) because(err error) error {
	if !errors.Is(err, ErrDead) && !c.alive() {
		return ErrDead
	}
	return err
}

// stamped fills in the clock, at the last moment.
func stamped(req wire.Request) wire.Request {
	if req.Clock == now {
		req.Clock = time.Now().UnixNano()
	}
	if req.Restored != nil && req.Restored.Clock == now {
		r := *req.Restored
		r.Clock = time.Now().UnixNano()
		req.Restored = &r
	}
	return req
}

// tries spaces the attempts to reach an agent.
type tries struct {
	wait  time.Duration // the last pause
	limit time.Duration // of the last attempt
}

// patience is how long the next attempt may take until the agent's Hello: a little at first, since a connection that
// was made while the guest stood still may never be answered.
func (t *tries) patience() time.Duration {
	t.limit = min(max(2*t.limit, firstTry), answerTime)
	return t.limit
}

// pause waits before the next attempt. It fails when there is no point in one: the VM died, or ctx ended.
func (t *tries) pause(ctx context.Context, c *Client, last error) error {
	if !c.alive() {
		return ErrDead
	}
	t.wait = min(max(2*t.wait, pauseMin), pauseMax)
	sleep(ctx, t.wait)
	if ctx.Err() == nil {
		return nil
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, ErrDead):
		return ErrDead
	case errors.Is(last, cause):
		return last
	default:
		return fmt.Errorf("%w (%w)", last, cause)
	}
}

// decodeJobs decodes a list of jobs up to a bound.
func decodeJobs(data []byte) ([]wire.Job, error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, fmt.Errorf("%w: jobs that are no list", wire.ErrProtocol)
	}
	var jobs []wire.Job
	for d.More() {
		if len(jobs) == maxJobs {
			return nil, fmt.Errorf("%w: more than %d jobs", wire.ErrProtocol, maxJobs)
		}
		var j wire.Job
		if err := d.Decode(&j); err != nil {
			return nil, fmt.Errorf("%w: job: %v", wire.ErrProtocol, err)
		}
		j.ID, j.Command, j.User = cut(j.ID), cut(j.Command), cut(j.User)
		if j.Exit != nil {
			j.Exit.Error = cut(j.Exit.Error)
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// cut bounds a text that the caller sanitises.
func cut(s string) string { return s[:min(len(s), 4*maxText)] }
