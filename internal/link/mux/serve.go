package mux

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// patience is how long a client waits for a session. To replace one takes milliseconds, to boot a guest seconds.
	patience = 200 * time.Millisecond
	// The port is dialled again after firstDial, then after ever longer times up to lastDial.
	firstDial = 10 * time.Millisecond
	lastDial  = time.Second
	// copyBuffer is the buffer of each direction of a connection.
	copyBuffer = 64 << 10
)

// Serve proxies each connection that l accepts to the guest, until ctx ends or l is closed. All go over one session of
// the port that dialPort connects to. A session that ends is replaced. A client's connection is closed when the guest
// does not answer within a fraction of a second, and when its session is lost. Serve closes l, and returns when every
// connection has ended.
func Serve(ctx context.Context, dialPort func(context.Context) (net.Conn, error), l net.Listener) {
	ctx, cancel := context.WithCancel(ctx)
	p := &proxy{changed: make(chan struct{})}
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { p.run(ctx, dialPort) })
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	slots := make(chan struct{}, MaxStreams)
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			sleep(ctx, firstDial) // out of descriptors, perhaps
			continue
		}
		select {
		case slots <- struct{}{}:
			all.Go(func() {
				defer func() { <-slots }()
				p.connect(ctx, c)
			})
		default:
			c.Close()
		}
	}
}

type proxy struct {
	mu      sync.Mutex
	session *Session      // nil while there is none
	changed chan struct{} // closed at the next change of session
}

// run makes a session, and the next one when that has ended.
func (p *proxy) run(ctx context.Context, dialPort func(context.Context) (net.Conn, error)) {
	for pause := firstDial; ctx.Err() == nil; pause = min(2*pause, lastDial) {
		if port, err := dialPort(ctx); err == nil {
			if s, err := Connect(ctx, port); err == nil {
				p.set(s)
				select {
				case <-s.Done():
				case <-ctx.Done():
				}
				p.set(nil)
				s.Close()
				pause = firstDial
			}
		}
		sleep(ctx, pause)
	}
}

func (p *proxy) set(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session = s
	close(p.changed)
	p.changed = make(chan struct{})
}

// open opens a connection to the guest.
func (p *proxy) open(ctx context.Context) (net.Conn, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		p.mu.Lock()
		s, changed := p.session, p.changed
		p.mu.Unlock()
		if s != nil {
			if c, err := s.Open(); err == nil || errors.Is(err, ErrBusy) {
				return c, err
			}
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil, ErrLost
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// connect serves one client.
func (p *proxy) connect(ctx context.Context, client net.Conn) {
	defer client.Close()
	guest, err := p.open(ctx)
	if err != nil {
		return
	}
	defer guest.Close()
	stop := context.AfterFunc(ctx, func() { client.Close(); guest.Close() })
	defer stop()
	var there sync.WaitGroup
	there.Go(func() {
		copyHalf(guest, client) // a client that died looks like one that closed, and so it does to the guest
	})
	if !copyHalf(client, guest) {
		// The session is lost, or nobody reads any longer: neither is a close by the guest.
		client.Close()
		guest.Close()
	}
	there.Wait()
}

// copyHalf copies until from's end, which it passes on, and returns false if it did not come so far.
func copyHalf(to, from net.Conn) bool {
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, copyBuffer))
	if errors.Is(err, ErrLost) {
		return false
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		return err == nil
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
