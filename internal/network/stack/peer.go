package stack

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"noid/internal/network/address"
	"noid/internal/network/lab"
)

// peerWait bounds the wait for room with another VM's helper.
const peerWait = 5 * time.Second

// peerTables have the flows that other VMs have opened: a flood of theirs takes no place of the guest's own.
type peerTables struct {
	tcp, udp, icmp table
	calling        chan struct{} // one token for each of their connections that is being made
}

func (p *peerTables) bound(l Limits) {
	p.tcp.max, p.udp.max, p.icmp.max = l.TCP/2, l.UDP/2, l.ICMP
	p.calling = make(chan struct{}, max(l.Connecting/4, 1))
}

func (s *Stack) isPeer(a netip.Addr) bool { return s.config.Peers != nil && s.config.Peers.Has(a) }

// peerStream is the far end of a connection in another VM.
type peerStream struct{ *lab.Conn }

func (c peerStream) Write(data []byte) (int, error) {
	for sent := 0; sent < len(data); sent += lab.MaxData {
		if err := c.Send(lab.Data, data[sent:min(sent+lab.MaxData, len(data))]); err != nil {
			return sent, err
		}
	}
	return len(data), nil
}

func (c peerStream) receive() (data *[]byte, n int, err error) {
	kind, data, n, err := c.Receive(&buffers)
	switch {
	case errors.Is(err, io.EOF):
		return nil, 0, unix.ECONNRESET // an end is said
	case err != nil:
		return nil, 0, err
	case kind == lab.Data:
		return data, n, nil
	}
	buffers.Put(data)
	if kind == lab.End {
		return nil, 0, io.EOF
	}
	return nil, 0, unix.EPROTO
}

func (c peerStream) CloseWrite() error { return c.Send(lab.End, nil) }
func (c peerStream) abort()            { c.Close() }

// callPeer serves a connection of the guest to another VM. The guest's connect succeeds when that one's guest has taken
// it.
func (s *Stack) callPeer(ctx context.Context, r *tcp.ForwarderRequest, f *flow) {
	c, err := s.config.Peers.Open(lab.TCP, f.guest.Port(), f.remote, peerWait)
	if err != nil {
		r.Complete(true)
		return
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	c.SetReadDeadline(time.Now().Add(dialWait))
	kind, data, _, err := c.Receive(&buffers)
	if err == nil {
		buffers.Put(data)
	}
	c.SetReadDeadline(time.Time{})
	switch {
	case err == nil && kind == lab.Opened:
		if guest := s.complete(r); guest != nil {
			s.relayIn(&s.tcp, f, guest, peerStream{c})
		}
	case err == nil && kind == lab.Silent:
		r.Complete(false)
	default:
		r.Complete(true)
	}
	c.Close()
}

// Receive serves a flow that another VM has opened, until its end.
func (s *Stack) Receive(o lab.Open, c *lab.Conn) {
	guest := address.Guest4.Addr()
	if o.From.Addr().Is6() {
		guest = address.Guest6.Addr()
	}
	k := key{netip.AddrPortFrom(guest, o.To.Port()), o.From}
	switch o.Proto {
	case lab.TCP:
		s.receiveTCP(k, c)
	case lab.UDP:
		s.carry(&s.peers.udp, lab.UDP, &flow{key: k, proto: "udp", inbound: true, peer: true}, c)
	case lab.Ping:
		s.carry(&s.peers.icmp, lab.Ping, &flow{key: echoKey(guest, o.From.Addr(), o.From.Port()), proto: "icmp", inbound: true, peer: true}, c)
	}
}

func (s *Stack) receiveTCP(k key, c *lab.Conn) {
	defer c.Close()
	select {
	case s.peers.calling <- struct{}{}:
	default:
		c.Send(lab.Silent, nil)
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, guestWait)
	defer cancel()
	guest, err := s.dialAddr(ctx, k.remote.Addr(), k.guest.Addr(), k.guest.Port())
	<-s.peers.calling
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		c.Send(lab.Silent, nil)
	case err != nil:
		c.Send(lab.Refused, nil)
	case c.Send(lab.Opened, nil) != nil:
		guest.abort()
	default:
		f := &flow{key: key{k.guest, tcpAddr(guest.LocalAddr())}, proto: "tcp", inbound: true, peer: true}
		s.relayIn(&s.peers.tcp, f, guest, peerStream{c})
	}
}

// openPeer opens a flow of datagrams to another VM. It does not wait: a datagram may be lost.
func (s *Stack) openPeer(proto lab.Proto, k key) *flow {
	c, err := s.config.Peers.Open(proto, k.guest.Port(), k.remote, 0)
	if err != nil {
		return nil
	}
	f, t := &flow{key: k, proto: "udp"}, &s.udp
	if proto == lab.Ping {
		f, t = &flow{key: k, proto: "icmp"}, &s.icmp
	}
	s.start(t, f, c)
	go s.receiveDatagrams(t, proto, f, c)
	return f
}

// carry is a flow of datagrams that another VM has opened.
func (s *Stack) carry(t *table, proto lab.Proto, f *flow, c *lab.Conn) {
	s.start(t, f, c)
	s.receiveDatagrams(t, proto, f, c)
}

// start puts a flow of datagrams between the guest and another VM into its table.
func (s *Stack) start(t *table, f *flow, c *lab.Conn) {
	f.end = func() { c.Close() }
	f.refuse = func() { c.TrySend(lab.Refused, nil) }
	f.send = func(data []byte) {
		f.sent.Add(uint64(len(data)))
		f.touch()
		c.SetReadDeadline(time.Now().Add(answeredWait))
		if _, err := c.TrySend(lab.Data, data); err != nil { // the other helper has ended
			t.remove(f)
			f.end()
		}
	}
	t.add(f)
	if s.ctx.Err() != nil || !s.holds(f) { // Close and SetPolicy have not seen it
		f.end()
	}
}

// receiveDatagrams takes the other VM's datagrams to the guest until the flow is cut or has been idle for long.
func (s *Stack) receiveDatagrams(t *table, proto lab.Proto, f *flow, c *lab.Conn) {
	defer t.remove(f)
	defer f.end()
	for {
		c.SetReadDeadline(time.Now().Add(answeredWait))
		kind, data, n, err := c.Receive(&buffers)
		if err != nil {
			return
		}
		f.got.Add(uint64(n))
		f.touch()
		switch {
		case kind == lab.Data && proto == lab.UDP:
			s.sendUDP(f.remote, f.guest, (*data)[:n])
		case kind == lab.Data && isEcho((*data)[:n], f):
			s.sendEcho(f.key, (*data)[:n])
		case kind == lab.Refused && proto == lab.UDP:
			s.unreachable(f.key, header.UDPProtocolNumber, udpHeader(f.guest, f.remote, 0), portUnreachable)
		}
		buffers.Put(data)
	}
}

// refusal tells another VM that the guest has refused its datagram, if that is what a packet of the guest's says: in
// an ICMP message, "port unreachable", that packet begins.
func (s *Stack) refusal(network tcpip.NetworkProtocolNumber, packet []byte) {
	size, protocol, want := header.IPv4MinimumSize, header.ICMPv4ProtocolNumber, [2]byte{uint8(header.ICMPv4DstUnreachable), uint8(header.ICMPv4PortUnreachable)}
	at := 9
	if network == header.IPv6ProtocolNumber {
		size, protocol, want = header.IPv6MinimumSize, header.ICMPv6ProtocolNumber, [2]byte{uint8(header.ICMPv6DstUnreachable), uint8(header.ICMPv6PortUnreachable)}
		at = 6
	}
	inner := size + header.ICMPv4MinimumSize
	if len(packet) < inner || network == header.ARPProtocolNumber || packet[at] != uint8(protocol) || [2]byte(packet[size:]) != want {
		return
	}
	if k, ok := keyOf(network, packet[inner:], header.UDPProtocolNumber); ok {
		if f := s.peers.udp.find(key{guest: k.remote, remote: k.guest}); f != nil {
			f.refuse()
		}
	}
}

// isEcho reports whether an ICMP message for the guest is the request, or the answer, that the flow f carries to it.
func isEcho(message []byte, f *flow) bool {
	want := [2]uint8{uint8(header.ICMPv4EchoReply), uint8(header.ICMPv6EchoReply)}
	if f.peer {
		want = [2]uint8{uint8(header.ICMPv4Echo), uint8(header.ICMPv6EchoRequest)}
	}
	six := 0
	if f.remote.Addr().Is6() {
		six = 1
	}
	return len(message) >= header.ICMPv4MinimumSize && message[0] == want[six] && message[1] == 0
}

// echoKey is the key of the pings of another VM, whose identifier is its port: no ping of the guest's own has port 1.
func echoKey(guest, from netip.Addr, id uint16) key {
	return key{netip.AddrPortFrom(guest, id), netip.AddrPortFrom(from, 1)}
}

// echoed takes the guest's answer to a ping of another VM to that.
func (s *Stack) echoed(guest, to netip.Addr, h []byte, pkt *stack.PacketBuffer) bool {
	if len(h) < header.ICMPv4MinimumSize || to.Is4() && header.ICMPv4Type(h[0]) != header.ICMPv4EchoReply ||
		to.Is6() && header.ICMPv6Type(h[0]) != header.ICMPv6EchoReply {
		return false
	}
	f := s.peers.icmp.find(echoKey(guest, to, pingID(h)))
	if f != nil {
		f.send(append(append([]byte(nil), h...), pkt.Data().AsRange().ToSlice()...))
	}
	return f != nil
}
