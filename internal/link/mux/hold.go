package mux

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// settled is for how long QEMU must have read nothing of what waits for it until Hold believes that the guest has no
// room.
const settled = 100 * time.Millisecond

// Port is a connection to QEMU's port. While it is held nothing is read from QEMU and nothing written to it: either
// would change the memory of a guest, even of a paused one. A snapshot saves devices and memory one after the other,
// and a change in between would make the two not fit.
type Port struct {
	*net.UnixConn
	mu      sync.Mutex
	changed sync.Cond
	held    bool
	busy    int // reads and writes under way
	closed  bool
}

// NewPort wraps conn.
func NewPort(conn *net.UnixConn) *Port {
	p := &Port{UnixConn: conn}
	p.changed.L = &p.mu
	return p
}

// Read implements net.Conn. It waits while the port is held.
func (p *Port) Read(b []byte) (int, error) {
	return p.do(p.UnixConn.Read, p.UnixConn.SetReadDeadline, b)
}

// Write implements net.Conn. It waits while the port is held.
func (p *Port) Write(b []byte) (n int, err error) {
	for {
		k, err := p.do(p.UnixConn.Write, p.UnixConn.SetWriteDeadline, b[n:])
		if n += k; n == len(b) || err != nil {
			return n, err
		}
	}
}

// do reads or writes as soon as the port is not held. A Hold interrupts it.
func (p *Port) do(f func([]byte) (int, error), setDeadline func(time.Time) error, b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for p.held && !p.closed {
			p.changed.Wait()
		}
		setDeadline(time.Time{})
		p.busy++
		p.mu.Unlock()
		n, err := f(b)
		p.mu.Lock()
		p.busy--
		p.changed.Broadcast()
		if errors.Is(err, os.ErrDeadlineExceeded) && !p.closed { // by a Hold, which may be over already
			err = nil
		}
		if n > 0 || err != nil || len(b) == 0 {
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
	p.UnixConn.SetDeadline(time.Unix(1, 0)) // interrupts do
	for p.busy > 0 {
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

// unread is how much of what was written the other end has not read (SIOCOUTQ; for unix sockets with overhead, but 0 is
// 0).
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
