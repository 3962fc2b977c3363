package helper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"noid/internal/errs"
	"noid/internal/proc"
	"noid/internal/vmm"
)

const (
	// guardWait bounds the wait for the helper's word, which comes at once unless a pause was left over.
	guardWait = 10 * time.Second
	// oldHelperWait is how long a helper may have no GuardFile before it is taken for one of an older noid.
	oldHelperWait = time.Second
)

// Pause is a pause that the VM's helper guards: should this process be killed or stand still, the helper has the guest
// run again, at once or about two seconds later. Nil is a pause that nobody guards.
type Pause struct {
	conn *net.UnixConn
	over chan struct{}
	once sync.Once
}

// GuardPause has the helper of the VM in dir, whose VMM is p, guard a pause from its Begin on. When it returns, the
// guest is not paused any more for a noid that was killed. It calls start where there is no helper. A helper of a noid
// that had no such guard yet guards nothing. The caller, who has the VM's lock, ends or closes the pause.
func GuardPause(ctx context.Context, dir string, p proc.Process, start func() error) (*Pause, error) {
	ctx, cancel := vmm.Bounded(ctx, guardWait, "the vm's helper")
	defer cancel()
	conn, err := dialGuard(ctx, dir, p, start)
	if err != nil || conn == nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	word := make([]byte, 1)
	if _, err := conn.Read(word); err != nil || word[0] != granted {
		conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("having the vm's helper guard the pause: %w", err)
	}
	guarded := &Pause{conn: conn, over: make(chan struct{})}
	go guarded.beat()
	return guarded, nil
}

func dialGuard(ctx context.Context, dir string, p proc.Process, start func() error) (*net.UnixConn, error) {
	began, started := time.Now(), false
	for {
		conn, err := vmm.Dial(ctx, dir, GuardFile)
		switch {
		case err == nil:
			return conn, nil
		case !vmm.Absent(err) || !p.Alive():
			return nil, err
		case started || Present(dir):
			if !started && time.Since(began) > oldHelperWait {
				return nil, nil
			}
		default:
			if err := start(); err != nil {
				return nil, fmt.Errorf("starting the vm's helper: %w", err)
			}
			started = true
		}
		if err := vmm.Sleep(ctx, 2*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func (p *Pause) beat() {
	tick := time.NewTicker(beatWait)
	defer tick.Stop()
	for {
		select {
		case <-p.over:
			return
		case <-tick.C:
			p.conn.Write([]byte{beat})
		}
	}
}

// Begin says that the caller is about to pause the guest, which runs. Until then a pause that is closed changes
// nothing: a guest that stands still because its user wants it so stays paused.
func (p *Pause) Begin() {
	if p != nil {
		p.conn.Write([]byte{begins})
	}
}

// Frozen says that the guest's agent was frozen: who has the guest run again thaws it.
func (p *Pause) Frozen() {
	if p != nil {
		p.conn.Write([]byte{frozen})
	}
}

// End ends the guard: the guest runs again, or stays paused on purpose. The error says that this process stood still
// for so long that the helper has had the guest run before.
func (p *Pause) End() error {
	if p == nil {
		return nil
	}
	defer p.Close()
	p.conn.SetDeadline(time.Now().Add(guardWait))
	word := make([]byte, 1)
	_, err := p.conn.Write([]byte{done})
	if err == nil {
		_, err = p.conn.Read(word)
	}
	switch {
	case err != nil:
		return fmt.Errorf("the vm's helper ended in the pause: %w", err)
	case word[0] == late:
		return errs.WithHint(errors.New("noid stood still in the pause, so the guest was let run"), "try again")
	}
	return nil
}

// Close leaves it to the helper to have the guest run again, unless End was called.
func (p *Pause) Close() {
	if p != nil {
		p.once.Do(func() {
			close(p.over)
			p.conn.Close()
		})
	}
}
