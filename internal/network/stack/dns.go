package stack

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"time"
)

const (
	// queryWait bounds the answer to one DNS query: a guest has asked again long before.
	queryWait = 20 * time.Second
	// streamWait is how long a TCP connection for queries may be idle.
	streamWait = 30 * time.Second
)

// isNameServer reports whether the stack itself answers DNS queries to an address: to the gateway, and to any that the
// policy refuses. An image may name a server of the network that it was made in.
func (s *Stack) isNameServer(proto string, to netip.AddrPort) bool {
	return to.Port() == dnsPort && s.config.Resolve != nil && (isGateway(to.Addr()) || (*s.policy.Load()).Allow(proto, to) != nil)
}

// query answers a DNS query that came by UDP. One too many is not answered: the guest asks again.
func (s *Stack) query(guest, to netip.AddrPort, data []byte) bool {
	select {
	case s.queries <- struct{}{}:
	default:
		return true
	}
	data = append([]byte(nil), data...)
	go func() {
		defer func() { <-s.queries }()
		if answer := s.resolve(s.ctx, data, "udp"); answer != nil {
			s.sendUDP(to, guest, answer)
		}
	}()
	return true
}

func (s *Stack) resolve(ctx context.Context, data []byte, proto string) []byte {
	ctx, cancel := context.WithTimeout(ctx, queryWait)
	defer cancel()
	return s.config.Resolve(ctx, data, proto)
}

// serveQueries answers the DNS queries of a TCP connection, one after the other (RFC 1035, 4.2.2).
func (s *Stack) serveQueries(ctx context.Context, c net.Conn) {
	defer c.Close()
	select {
	case s.queries <- struct{}{}:
		defer func() { <-s.queries }()
	default:
		return
	}
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	for {
		var length [2]byte
		c.SetDeadline(time.Now().Add(streamWait))
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		data := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, data); err != nil {
			return
		}
		answer := s.resolve(ctx, data, "tcp")
		if answer == nil || len(answer) > 0xffff {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}
