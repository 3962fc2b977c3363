package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"noid/internal/network/control"
	"noid/internal/vmm"
)

const (
	// maxRequest bounds a request, in bytes, requestWait the wait for one, maxControl how many are served at a time.
	maxRequest  = 1 << 20
	requestWait = 10 * time.Second
	maxControl  = 64
	// maxHeld bounds how many answered requests to forward ports are in effect, and maxBrokers how many brokers there
	// are: one, and those that it replaces.
	maxHeld    = 256
	maxBrokers = 8
)

// held has one token for each request whose effect lasts as long as its connection, of each kind.
type held map[control.Op]chan struct{}

func newHeld() held {
	return held{control.Forward: make(chan struct{}, maxHeld), control.Broker: make(chan struct{}, maxBrokers)}
}

// take takes a token for a request, if its effect lasts, until release.
func (h held) take(op control.Op) (release func(), err error) {
	tokens, lasts := h[op]
	if !lasts {
		return func() {}, nil
	}
	select {
	case tokens <- struct{}{}:
		return func() { <-tokens }, nil
	default:
		return func() {}, fmt.Errorf("%d requests to %s are in effect at once, and this is the most that a vm has: end one of them", cap(tokens), op)
	}
}

// control answers requests until l is closed.
func (s *Server) control(ctx context.Context, l *net.UnixListener) {
	places := make(chan struct{}, maxControl)
	for {
		places <- struct{}{}
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			time.Sleep(requestWait / 1000)
			<-places
			continue
		}
		go func() {
			answered := sync.OnceFunc(func() { <-places })
			defer answered()
			defer conn.Close()
			if vmm.Trusts(conn, s.vmm.PID) {
				s.answer(ctx, conn, answered)
			}
		}()
	}
}

// answer reads one request and answers it, and calls answered before it waits for the end of one whose effect lasts.
func (s *Server) answer(ctx context.Context, conn *net.UnixConn, answered func()) {
	var r control.Request
	conn.SetDeadline(time.Now().Add(requestWait))
	lines := control.NewLines(conn, maxRequest)
	file, err := lines.Read(&r)
	if file != nil {
		defer file.Close()
	}
	if err != nil {
		return
	}
	var a control.Answer
	release, err := s.held.take(r.Op)
	defer release()
	if err == nil {
		var end func()
		a, end, err = s.do(r, file)
		defer end()
	}
	if err != nil {
		a.Error = err.Error()
	}
	conn.SetDeadline(time.Now().Add(requestWait))
	if json.NewEncoder(conn).Encode(a) != nil || s.held[r.Op] == nil || err != nil {
		return
	}
	answered()
	conn.SetDeadline(time.Time{})
	if r.Op == control.Broker {
		s.sockets.serve(ctx, lines, conn)
		return
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	io.Copy(io.Discard, conn) // until who asked hangs up
}

// do does what a request asks for, with the descriptor that came with it. end ends it.
func (s *Server) do(r control.Request, file *os.File) (a control.Answer, end func(), err error) {
	end = func() {}
	switch r.Op {
	case control.Reload:
		a, err = s.reload()
	case control.Status:
		a.Status, a.Ports, a.Sockets = s.status(), s.ports.List(), s.sockets.look(s.policy.Load().config)
	case control.Flows:
		a.Flows = s.flows()
	case control.SetSecrets:
		err = s.setSecrets(r.Secrets)
	case control.Forward:
		a.Ports, end = s.ports.Add(r.Ports)
	case control.Connect:
		var host *net.UnixConn
		if host, err = control.Conn(file); err == nil {
			err = s.sockets.connect(r.Socket, host)
		}
	case control.Broker:
	default:
		err = fmt.Errorf("this network helper does not know %.40q", string(r.Op))
	}
	return a, end, err
}

// flows are the guest's, and those that the interceptor has made for it.
func (s *Server) flows() []control.Flow { return append(s.stack.Flows(), s.https.Flows()...) }

func (s *Server) status() *control.State {
	stats := s.stack.Stats()
	return &control.State{
		PID: os.Getpid(), Since: s.began.UTC(), Memory: resident(), Flows: len(s.flows()), Sent: stats.Sent, Got: stats.Got,
		Refused: stats.Refused, Ping: stats.NoPing == nil, IPv6: reaches(netip.MustParseAddrPort("[2001:db8::1]:9")),
	}
}

// resident is how much memory this process takes, in bytes.
func resident() int64 {
	var pages, size int64
	data, err := os.ReadFile("/proc/self/statm")
	if _, err2 := fmt.Sscan(string(data), &size, &pages); err != nil || err2 != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// reaches reports whether this host has a route to an address. Connecting a socket of datagrams sends nothing.
func reaches(to netip.AddrPort) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return false
	}
	c.Close()
	return true
}
