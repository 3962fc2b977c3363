package mux

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

const (
	// idle is how often a port is read that no host holds: the kernel answers such a read with end of file at once.
	idle = 50 * time.Millisecond
	// portWrite is the most that is written to the port at once; the kernel takes no more (drivers/char/virtio_console.c).
	portWrite = 32 << 10
	// outBuffer is what a session may have waiting for the port: enough to fill a write while another is under way.
	outBuffer = 4 * portWrite
	// deliverTimeout bounds how long a session may leave what it was sent unread, so that a resynchronisation behind that
	// is found whatever happens.
	deliverTimeout = 10 * time.Second
)

// Listen returns the guest's end: its Accept returns the connections that the host opens, of this host and of each that
// comes after it. Close closes the port.
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

	// The reader's own:
	now  *pipe // the session of the present host, or nil
	left bool  // a session that is over may still look into the reader's buffer

	// What there is to write:
	mu      sync.Mutex
	changed sync.Cond // of mu: anything below, a pipe's out, or that a pipe or the listener has ended
	answer  []byte    // to the newest resynchronisation; it goes before what its session writes
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
		if l.left {
			buf, l.left = make([]byte, len(buf)), false
		}
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

// deliver gives data to the session, if there is one.
func (l *listener) deliver(data []byte) {
	if l.now != nil && !l.now.deliver(data) {
		l.renew(nil)
		l.left = true
	}
}

// resync answers a host that begins anew. An answer that was not written yet is for nobody any more.
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

// write writes to the port, as much at once as it takes. A write waits as long as no host reads. What belongs to a session
// that has ended meanwhile is dropped, so nothing of it comes behind the answer that ended it.
func (l *listener) write() {
	for {
		data, of := l.next()
		if data == nil {
			return
		}
		_, err := l.port.Write(data)
		if of != nil {
			of.wrote(len(data))
		}
		if err != nil {
			if of != nil {
				of.Close() // with a gap in its bytes it cannot go on
			}
			l.sleep(idle)
		}
	}
}

// next waits for something to write, and returns nil when the listener is closed. of is nil for an answer.
func (l *listener) next() (data []byte, of *pipe) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		select {
		case <-l.closed:
			return nil, nil
		default:
		}
		if l.answer != nil {
			data, l.answer = l.answer, nil
			return data, nil
		}
		if p := l.from; p != nil && !p.ended() && p.head < len(p.out) {
			return p.out[p.head:min(len(p.out), p.head+portWrite)], p
		}
		l.changed.Wait()
	}
}

// pipe is the port as one session sees it.
type pipe struct {
	l    *listener
	in   chan []byte
	took chan struct{}
	rest []byte
	dead chan struct{}
	once sync.Once

	joiner joiner

	// Guarded by l.mu. out[head:] waits for the port's writer, which may be reading it: what is there is moved by the writer
	// alone, and others append within the capacity.
	out  []byte
	head int
}

func newPipe(l *listener) *pipe {
	return &pipe{l: l, in: make(chan []byte), took: make(chan struct{}), dead: make(chan struct{}), out: make([]byte, 0, outBuffer)}
}

func (p *pipe) Close() error {
	p.once.Do(func() {
		close(p.dead)
		p.l.wake()
	})
	return nil
}

func (p *pipe) ended() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// deliver returns when data was read, or false when the session is over.
func (p *pipe) deliver(data []byte) bool {
	timer := time.NewTimer(deliverTimeout)
	defer timer.Stop()
	select {
	case p.in <- data:
	case <-p.dead:
		return false
	case <-timer.C:
		return false
	}
	select {
	case <-p.took:
		return true
	case <-p.dead:
	case <-timer.C:
	}
	return false
}

// Read is called by one goroutine of yamux.
func (p *pipe) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		select {
		case p.rest = <-p.in:
		case <-p.dead:
			return 0, ErrLost
		}
	}
	n := copy(b, p.rest)
	if p.rest = p.rest[n:]; len(p.rest) == 0 {
		select {
		case p.took <- struct{}{}:
		case <-p.dead:
			return 0, ErrLost
		}
	}
	return n, nil
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

// queue appends b to out. l.mu is held.
func (p *pipe) queue(b []byte) error {
	for len(b) > 0 {
		room := cap(p.out) - len(p.out)
		switch {
		case p.ended():
			return ErrLost
		case room == 0:
			p.l.changed.Wait()
			continue
		}
		k := min(room, len(b))
		p.out, b = append(p.out, b[:k]...), b[k:]
		p.l.changed.Broadcast()
	}
	return nil
}

// wrote frees what was written: the first n bytes that waited.
func (p *pipe) wrote(n int) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.head += n
	if rest := len(p.out) - p.head; rest < portWrite {
		copy(p.out, p.out[p.head:])
		p.out, p.head = p.out[:rest], 0
	}
	p.l.changed.Broadcast()
}
