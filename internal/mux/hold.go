package mux

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// settled is how long the other end of a held port must have taken nothing, while bytes wait for it, to be taken for full.
const settled = 100 * time.Millisecond

// Port is a connection to QEMU's port that can be held: while it is, QEMU gets nothing from it. QEMU writes what it gets
// into the memory of a paused guest too, but between the saving of devices and of memory it must not: the two would not fit.
type Port struct {
	*net.UnixConn
	mu      sync.Mutex
	changed sync.Cond
	held    bool
	writing bool
	closed  bool
}

// NewPort wraps conn.
func NewPort(conn *net.UnixConn) *Port {
	p := &Port{UnixConn: conn}
	p.changed.L = &p.mu
	return p
}

// Write implements net.Conn. It waits while the port is held.
func (p *Port) Write(b []byte) (n int, err error) {
	for {
		p.mu.Lock()
		for p.held && !p.closed {
			p.changed.Wait()
		}
		p.UnixConn.SetWriteDeadline(time.Time{})
		p.writing = true
		p.mu.Unlock()
		k, err := p.UnixConn.Write(b[n:])
		n += k
		p.mu.Lock()
		p.writing = false
		p.changed.Broadcast()
		held := p.held && !p.closed
		p.mu.Unlock()
		if n == len(b) || err != nil && !held {
			return n, err
		}
	}
}

// Close implements net.Conn.
func (p *Port) Close() error {
	p.mu.Lock()
	p.closed = true
	p.changed.Broadcast()
	p.mu.Unlock()
	return p.UnixConn.Close()
}

// Hold holds the port and returns when QEMU has taken what was on its way, or takes no more as the paused guest has no
// room. It may be repeated.
func (p *Port) Hold(ctx context.Context) error {
	p.mu.Lock()
	p.held = true
	p.UnixConn.SetWriteDeadline(time.Unix(1, 0)) // a write that waits leaves off
	for p.writing {
		p.changed.Wait()
	}
	p.mu.Unlock()
	last, since := -1, time.Now()
	for {
		n, err := p.unread()
		if err != nil || n == 0 {
			return err
		}
		if n != last {
			last, since = n, time.Now()
		} else if time.Since(since) >= settled {
			return nil
		}
		if sleep(ctx, time.Millisecond); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Release ends a Hold.
func (p *Port) Release() {
	p.mu.Lock()
	p.held = false
	p.changed.Broadcast()
	p.mu.Unlock()
}

// unread is how much of what was written the other end has not read (SIOCOUTQ; for unix sockets with overhead, but 0 is 0).
func (p *Port) unread() (n int, err error) {
	raw, err := p.UnixConn.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); e != nil {
		return 0, e
	}
	return n, err
}

var (
	_ net.Conn     = (*Port)(nil)
	_ syscall.Conn = (*Port)(nil)
)
