package stack

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network/address"
)

const (
	// guestWait bounds a connection to the guest, which answers at once unless it is paused or very busy.
	guestWait = 20 * time.Second
	// firstPort is the lowest port from which the host's datagrams come.
	firstPort = 16384
)

// Forward relays a connection that came to a port of the host to a port of the guest, until its end. Where only a
// server on the guest's loopback listens, the guest's agent connects it.
func (s *Stack) Forward(host *net.TCPConn, port uint16) {
	select {
	case s.calling <- struct{}{}:
	default:
		reset(host)
		return
	}
	guest, err := s.dialServer(port)
	<-s.calling
	if err != nil {
		reset(host)
		return
	}
	s.relay(flowTo(guest), guest, host)
}

func (s *Stack) dialServer(port uint16) (*conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, guestWait)
	defer cancel()
	guest, err := s.dialGuest(ctx, port)
	if !errors.Is(err, unix.ECONNREFUSED) {
		return guest, err
	}
	return s.dialRelay(ctx, strconv.Itoa(int(port)))
}

// dialRelay connects to the guest's agent, whose relay is told what for in a line.
func (s *Stack) dialRelay(ctx context.Context, line string) (*conn, error) {
	guest, err := s.dialGuest(ctx, address.RelayPort)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(guest, line+"\n"); err != nil {
		guest.Close()
		return nil, err
	}
	return guest, nil
}

// Agent connects to the guest's agent, whose relay is told what for in a line. It is tried until ctx ends.
func (s *Stack) Agent(ctx context.Context, line string) (net.Conn, error) {
	guest, err := s.dialRelay(ctx, line)
	if err != nil {
		return nil, err
	}
	f := flowTo(guest) // what is restored of the guest learns that it is gone
	f.end = guest.abort
	guest.flow = f
	s.tcp.add(f)
	return agentConn{guest, func() { s.tcp.remove(f) }}, nil
}

// agentConn is one of Agent.
type agentConn struct {
	*conn
	remove func()
}

func (c agentConn) Close() error {
	c.remove()
	return c.conn.Close()
}

// flowTo is the flow of a connection to the guest.
func flowTo(guest *conn) *flow {
	return &flow{key: key{tcpAddr(guest.RemoteAddr()), tcpAddr(guest.LocalAddr())}, proto: "tcp", inbound: true}
}

// ForwardSocket relays a connection of a unix socket of this host to what the guest's relay connects by a line, and
// returns at once. On error host is closed.
func (s *Stack) ForwardSocket(host *net.UnixConn, line string) error {
	ctx, cancel := context.WithTimeout(s.ctx, guestWait)
	defer cancel()
	guest, err := s.dialRelay(ctx, line)
	if err != nil {
		host.Close()
		return err
	}
	go s.relay(flowTo(guest), guest, host)
	return nil
}

func tcpAddr(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort()
	}
	return netip.AddrPort{}
}

// sender is who sends datagrams to a port of the host.
type sender struct {
	to   *net.UDPConn
	from netip.AddrPort
}

// senders have a flow each.
type senders struct {
	mu    sync.Mutex
	flows map[sender]*flow
}

// ForwardUDP carries a datagram that came to a port of the host, from an address, to a port of the guest, and from now
// on what the guest answers.
func (s *Stack) ForwardUDP(to *net.UDPConn, from netip.AddrPort, port uint16, data []byte) {
	who := sender{to, from}
	s.senders.mu.Lock()
	f := s.senders.flows[who]
	s.senders.mu.Unlock()
	if f == nil {
		f = s.addSender(who, port)
	}
	f.got.Add(uint64(len(data)))
	f.touch()
	s.sendUDP(f.remote, f.guest, data)
}

// addSender gives a sender a port of its own on the host's address in the guest's network.
func (s *Stack) addSender(who sender, port uint16) *flow {
	guest := netip.AddrPortFrom(address.Guest4.Addr(), port)
	k := key{guest, netip.AddrPortFrom(address.Host4, firstPort)}
	for range s.udp.max + 1 {
		k.remote = netip.AddrPortFrom(address.Host4, firstPort+uint16(rand.N(1<<16-firstPort)))
		if s.udp.find(k) == nil {
			break
		}
	}
	f := &flow{key: k, proto: "udp", inbound: true}
	f.send = func(data []byte) {
		f.sent.Add(uint64(len(data)))
		f.touch()
		who.to.WriteToUDPAddrPort(data, who.from)
	}
	f.end = func() {
		if t := f.expiry.Load(); t != nil {
			t.Stop() // it holds the flow
		}
		s.senders.mu.Lock()
		defer s.senders.mu.Unlock()
		if s.senders.flows[who] == f {
			delete(s.senders.flows, who)
		}
	}
	s.senders.mu.Lock()
	if s.senders.flows == nil {
		s.senders.flows = map[sender]*flow{}
	}
	s.senders.flows[who] = f
	s.senders.mu.Unlock()
	s.udp.add(f)
	expiry := time.AfterFunc(answeredWait, func() { s.expire(f) })
	f.expiry.Store(expiry)
	if s.udp.find(k) != f { // it has ended meanwhile
		expiry.Stop()
	}
	return f
}

// expire ends a flow that has been idle, and looks at one that has not been again later.
func (s *Stack) expire(f *flow) {
	if left := answeredWait - f.idle(); left > 0 && s.udp.find(f.key) == f {
		f.expiry.Load().Reset(left)
		return
	}
	s.udp.remove(f)
	f.end()
}

// CloseForward ends the flows that came by a port of the host which is one no more.
func (s *Stack) CloseForward(to *net.UDPConn) {
	s.senders.mu.Lock()
	var gone []*flow
	for who, f := range s.senders.flows {
		if who.to == to {
			gone = append(gone, f)
		}
	}
	s.senders.mu.Unlock()
	for _, f := range gone {
		s.udp.remove(f)
		f.end()
	}
}
