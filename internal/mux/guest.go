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
	// deliverTimeout bounds how long a session may leave what it was sent unread, so that a resynchronisation behind that
	// is found whatever happens.
	deliverTimeout = 10 * time.Second
)

// Listen returns the guest's end: its Accept returns the connections that the host opens, of this host and of each that
// comes after it. Close closes the port.
func Listen(port io.ReadWriteCloser) net.Listener {
	l := &listener{port: port, conns: make(chan net.Conn), out: make(chan piece), closed: make(chan struct{})}
	go l.read()
	go l.write()
	return l
}

type listener struct {
	port   io.ReadWriteCloser
	conns  chan net.Conn
	out    chan piece
	closed chan struct{}
	once   sync.Once

	// The reader's own:
	now  *pipe // the session of the present host, or nil
	left bool  // a session that is over may still look into the reader's buffer
}

// piece is something to write to the port.
type piece struct {
	data []byte
	of   *pipe // nil for an answer to a resynchronisation
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

// resync answers a host that begins anew. The answer is in the writer's hands before the new session can write.
func (l *listener) resync(n nonce) {
	l.renew(nil)
	select {
	case l.out <- piece{data: message(synced, n)}:
		p := newPipe(l)
		if s, err := yamux.Server(p, config()); err == nil {
			l.renew(p)
			go l.accept(s)
		}
	case <-l.closed:
	}
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

// write writes pieces to the port, one after the other. A write waits as long as no host reads. What belongs to a session
// that has ended meanwhile is dropped, so nothing of it comes behind the answer that ended it.
func (l *listener) write() {
	for {
		select {
		case p := <-l.out:
			if p.of != nil && p.of.ended() {
				continue
			}
			if _, err := l.port.Write(p.data); err != nil {
				if p.of != nil {
					p.of.Close() // with a gap in its bytes it cannot go on
				}
				l.sleep(idle)
			}
		case <-l.closed:
			return
		}
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
}

func newPipe(l *listener) *pipe {
	return &pipe{l: l, in: make(chan []byte), took: make(chan struct{}), dead: make(chan struct{})}
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.dead) })
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

// Write hands copies to the port's writer.
func (p *pipe) Write(b []byte) (n int, err error) {
	for n < len(b) {
		data := append([]byte(nil), b[n:min(len(b), n+portWrite)]...)
		select {
		case p.l.out <- piece{data, p}:
			n += len(data)
		case <-p.dead:
			return n, ErrLost
		}
	}
	return n, nil
}
