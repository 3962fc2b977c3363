package mux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// A resynchronisation is sent again after firstRetry, then after ever longer times up to lastRetry. In a guest that
// boots nobody reads the port yet, and QEMU keeps what was sent until somebody does.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// hostWrite is about the most that is written to QEMU at once, so that the buffer for it stays small.
const hostWrite = 64 << 10

// ErrBusy is Open's error when MaxStreams connections are open.
var ErrBusy = errors.New("too many connections to the guest at once")

// Session is the host's end between one resynchronisation and the next.
type Session struct{ yamux *yamux.Session }

// Connect resynchronises with the guest behind port and returns a fresh session. It waits until the guest answers or
// ctx ends; what the guest writes before its answer is dropped unread. The port is closed with the session, and on
// error.
func Connect(ctx context.Context, port net.Conn) (*Session, error) {
	stop := context.AfterFunc(ctx, func() { port.Close() })
	rest, err := handshake(port)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		port.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("resynchronising with the guest: %w", err)
	}
	c := config()
	c.StreamOpenTimeout = openTimeout
	y, err := yamux.Client(&escapedPort{Conn: port, in: &frames{in: io.MultiReader(bytes.NewReader(rest), port)}}, c)
	if err != nil {
		port.Close()
		return nil, err
	}
	go func() { // guests open no streams: one that does is not served at all
		if _, err := y.AcceptStream(); err == nil {
			y.Close()
		}
	}()
	return &Session{y}, nil
}

// handshake returns what came behind the answer.
func handshake(port net.Conn) (rest []byte, err error) {
	var mu sync.Mutex
	newest := newNonce() // that nobody was asked yet: an answer to an earlier host may hold any other, zeros too
	quit := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
			n := newNonce()
			mu.Lock()
			select {
			case <-quit: // answered: another question would end the session that begins
				mu.Unlock()
				return
			default:
				newest = n
			}
			mu.Unlock()
			if _, err := port.Write(message(resync, n)); err != nil {
				return // the read fails as well
			}
			select {
			case <-quit:
				return
			case <-time.After(pause):
			}
		}
	})
	defer asking.Wait()
	var s scanner
	answered := false
	sync := func(n nonce) {
		mu.Lock()
		defer mu.Unlock()
		if n == newest {
			answered = true
			close(quit)
		}
	}
	buf := make([]byte, 16<<10)
	for {
		n, err := port.Read(buf)
		for i := range buf[:n] {
			if s.scan(buf[i:i+1], synced, func([]byte) {}, sync); answered {
				return buf[i+1 : n], nil
			}
		}
		if err != nil {
			port.Close()
			close(quit)
			return nil, err
		}
	}
}

// Open returns a fresh connection to the guest. The guest may not have taken it yet: if it does not within 20 s, the
// session ends.
func (s *Session) Open() (net.Conn, error) {
	if s.yamux.NumStreams() >= MaxStreams {
		return nil, ErrBusy
	}
	stream, err := s.yamux.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	return newConn(stream), nil
}

// Done is closed when the session has ended: the port was closed, or the guest broke the protocol.
func (s *Session) Done() <-chan struct{} { return s.yamux.CloseChan() }

// Close ends the session, its connections and the port.
func (s *Session) Close() error { return s.yamux.Close() }

// frames is what a guest sends in a session, up to a ping: no end of ours sends one, and yamux has a goroutine wait for
// room to answer each, for which a guest that reads nothing never makes any.
type frames struct {
	in   io.Reader
	head []byte // of the next frame, as far as it is here
	left uint32 // bytes of the last one's content to come
}

// framePing is a ping's type in yamux's header.
const framePing = 2

func (f *frames) Read(b []byte) (int, error) {
	n, err := f.in.Read(b)
	for p := b[:n]; len(p) > 0; {
		if f.left > 0 {
			k := min(uint64(len(p)), uint64(f.left))
			f.left -= uint32(k)
			p = p[k:]
			continue
		}
		k := min(len(p), headerLen-len(f.head))
		f.head = append(f.head, p[:k]...)
		p = p[k:]
		if len(f.head) < headerLen {
			continue
		}
		switch f.head[1] {
		case framePing:
			return 0, errors.New("the guest pings")
		case frameData:
			f.left = binary.BigEndian.Uint32(f.head[8:])
		}
		f.head = f.head[:0]
	}
	return n, err
}

// escapedPort is the port as a session sees it.
type escapedPort struct {
	net.Conn
	in     io.Reader
	joiner joiner
	buf    []byte
}

func (p *escapedPort) Read(b []byte) (int, error) { return p.in.Read(b) }

// Write is called by one goroutine of yamux. An error ends the session, so how far an escape got does not matter.
func (p *escapedPort) Write(b []byte) (int, error) {
	if p.joiner.hold(b) {
		return len(b), nil
	}
	p.buf = escape(p.buf[:0], p.joiner.header)
	p.joiner.done()
	for done := 0; done < len(b); done += hostWrite {
		p.buf = escape(p.buf, b[done:min(len(b), done+hostWrite)])
		if _, err := p.Conn.Write(p.buf); err != nil {
			return 0, err
		}
		p.buf = p.buf[:0]
	}
	return len(b), nil
}
