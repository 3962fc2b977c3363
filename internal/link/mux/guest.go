package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

const (
	// idle is how often a port is read while no host is connected: the kernel answers such a read with end of file at
	// once.
	idle = 50 * time.Millisecond
	// portWrite is the most that is written to the port at once; the kernel takes no more
	// (drivers/char/virtio_console.c).
	portWrite = 32 << 10
	// outBuffer is how much a session may queue while another such buffer is being written.
	outBuffer = 2 * portWrite
	// deliverTimeout is for how long a session may leave what it was sent unread. It must not hide a resynchronisation
	// behind.
	deliverTimeout = 10 * time.Second
)

// Listen returns the guest's end. Its Accept returns what this host opens, and each host that comes after it. Close
// closes the port.
func Listen(port io.ReadWriteCloser) net.Listener {
	l := &listener{port: port, conns: make(chan net.Conn), closed: make(chan struct{})}
	l.changed.L = &l.mu
	go l.read()
	go l.write()
	return l
}

type listener struct {
	port   io.ReadWriteCloser
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	over   atomic.Bool // closed is

	now *pipe // the session of the present host, or nil; the reader's own

	// What there is to write:
	mu      sync.Mutex
	changed sync.Cond // of mu: anything below, a pipe's out, or that a pipe or the listener has ended
	answer  []byte    // to the newest resynchronisation, or begun; it goes before what its session writes
	from    *pipe     // the session that answer began, or nil
}

// Accept implements net.Listener. Its error is net.ErrClosed.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Connections end with ErrLost.
func (l *listener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.closed)
		l.over.Store(true)
		l.wake()
		err = l.port.Close()
	})
	return err
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "virtio-serial" }
func (addr) String() string  { return "port" }

// read reads the port until the listener is closed.
func (l *listener) read() {
	defer func() { l.renew(nil) }()
	var s scanner
	buf := make([]byte, 64<<10)
	for {
		n, err := l.port.Read(buf)
		s.scan(buf[:n], resync, l.deliver, l.resync)
		if n > 0 && err == nil {
			continue
		}
		if errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed) || !l.sleep(idle) {
			return
		}
	}
}

func (l *listener) sleep(d time.Duration) bool {
	select {
	case <-l.closed:
		return false
	case <-time.After(d):
		return true
	}
}

// deliver gives data to the session and returns when it was read. A session that does not read it ends. Without a
// session the host is told so.
func (l *listener) deliver(data []byte) {
	if p := l.now; p != nil {
		timer := time.AfterFunc(deliverTimeout, func() { p.Close() })
		defer timer.Stop()
		if _, err := p.in.Write(data); err != nil {
			l.renew(nil)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answer == nil {
		l.answer = bytes.Repeat(append(marker[:], begun), portWrite/(markerLen+1))
		l.changed.Broadcast()
	}
}

// resync answers a host that begins a new session. It replaces an answer that was not written yet.
func (l *listener) resync(n nonce) {
	l.renew(nil)
	p := newPipe(l)
	l.mu.Lock()
	l.answer, l.from = message(synced, n), p
	l.changed.Broadcast()
	l.mu.Unlock()
	if s, err := yamux.Server(p, config()); err == nil {
		l.renew(p)
		go l.accept(s)
	}
}

func (l *listener) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed.Broadcast()
}

// renew ends the session and puts another in its place.
func (l *listener) renew(p *pipe) {
	if l.now != nil {
		l.now.Close()
	}
	l.now = p
}

// accept passes the streams of a session on.
func (l *listener) accept(s *yamux.Session) {
	defer s.Close()
	for {
		stream, err := s.AcceptStream()
		if err != nil {
			return
		}
		select {
		case l.conns <- newConn(stream):
		case <-s.CloseChan():
			return
		case <-l.closed:
			return
		}
	}
}

// write writes to the port, as much at once as it takes. A write waits as long as no host reads. What an ended session
// has left is dropped: nothing of it may follow the answer that ended it.
func (l *listener) write() {
	var data []byte
	var of *pipe
	for {
		if len(data) == 0 || of != nil && of.over.Load() {
			if data, of = l.next(); data == nil {
				return
			}
		}
		n := min(len(data), portWrite)
		if _, err := l.port.Write(data[:n]); err != nil {
			if of != nil {
				of.Close() // with a gap in its bytes it cannot go on
			}
			l.sleep(idle)
		}
		data = data[n:]
	}
}

// next waits for something to write, and returns nil when the listener is closed. of is nil for an answer. What next
// returned before is no longer in use.
func (l *listener) next() (data []byte, of *pipe) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.over.Load() {
		if l.answer != nil {
			data, l.answer = l.answer, nil
			return data, nil
		}
		if p := l.from; p != nil && !p.over.Load() && len(p.out) > 0 {
			p.out, p.spare = p.spare[:0], p.out
			l.changed.Broadcast()
			return p.spare, p
		}
		l.changed.Wait()
	}
	return nil, nil
}

// pipe is the port as one session sees it.
type pipe struct {
	*io.PipeReader // what the port's reader delivers
	in             *io.PipeWriter
	l              *listener
	over           atomic.Bool
	joiner         joiner

	// What waits for the port's writer, and the buffer that it has. Guarded by l.mu.
	out, spare []byte
}

func newPipe(l *listener) *pipe {
	p := &pipe{l: l, out: make([]byte, 0, outBuffer), spare: make([]byte, 0, outBuffer)}
	p.PipeReader, p.in = io.Pipe()
	return p
}

func (p *pipe) Close() error {
	p.over.Store(true)
	p.in.CloseWithError(ErrLost)
	p.l.wake()
	return nil
}

// Write hands a copy to the port's writer. What comes while that one is busy is written together.
func (p *pipe) Write(b []byte) (int, error) {
	if p.joiner.hold(b) {
		return len(b), nil
	}
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if err := p.queue(p.joiner.header); err != nil {
		return 0, err
	}
	p.joiner.done()
	if err := p.queue(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// queue appends b to out, within its capacity. l.mu is held.
func (p *pipe) queue(b []byte) error {
	for len(b) > 0 {
		if p.over.Load() {
			return ErrLost
		}
		n := min(cap(p.out)-len(p.out), len(b))
		if n == 0 {
			p.l.changed.Wait()
			continue
		}
		p.out, b = append(p.out, b[:n]...), b[n:]
		p.l.changed.Broadcast()
	}
	return nil
}
