package stack

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"noid/internal/network/lab"
)

const (
	dnsPort   = 53
	dhcpPort  = 67
	dhcp6Port = 547
)

var (
	broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	// dhcpServers is where a client of DHCPv6 looks for one (RFC 8415, 7.1).
	dhcpServers = netip.MustParseAddr("ff02::1:2")
)

// datagram handles a UDP packet of the guest. False has the stack answer that nobody is there.
func (s *Stack) datagram(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	guest, to := addrPort(id.RemoteAddress, id.RemotePort), addrPort(id.LocalAddress, id.LocalPort)
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port()) // what the policy sees is what is dialled
	data := pkt.Data().AsRange().ToSlice()
	f := s.udp.find(key{guest, to})
	if f == nil {
		f = s.peers.udp.find(key{guest, to})
	}
	peer := s.isPeer(to.Addr())
	switch {
	case f != nil:
	case to.Port() == dhcpPort && (to.Addr() == broadcast4 || isGateway(to.Addr())):
		return s.lease(data)
	case to.Port() == dhcp6Port && to.Addr() == dhcpServers && guest.Addr().IsLinkLocalUnicast():
		return s.lease6(guest.Addr(), data)
	case guest.Addr().IsUnspecified(), to.Addr().IsMulticast(), to.Addr() == broadcast4:
		return true // nothing answers those
	case !peer && s.isNameServer("udp", to):
		return s.query(guest, to, data)
	case isGateway(to.Addr()):
		return false
	default:
		if s.allow("udp", to) != nil {
			return false
		}
		if peer {
			f = s.openPeer(lab.UDP, key{guest, to})
		} else {
			f = s.openUDP(key{guest, to})
		}
		if f == nil {
			return false
		}
	}
	f.pass(data, int(pkt.GSOOptions.MSS))
	return true
}

// pass hands on a datagram, or several of size bytes that segmentation offload has made one.
func (f *flow) pass(data []byte, size int) {
	if size == 0 {
		size = len(data)
	}
	for first := true; first || len(data) > 0; first = false { // an empty datagram is one, too
		n := min(size, len(data))
		f.send(data[:n])
		data = data[n:]
	}
}

func (s *Stack) openUDP(k key) *flow {
	for _, target := range targets(k.remote) {
		file, err := openSocket(target, protoUDP)
		if err != nil {
			continue
		}
		return s.open(&s.udp, &socket{
			flow: &flow{key: k, proto: "udp"}, file: file,
			answer: func(data []byte) { s.sendUDP(k.remote, k.guest, data) },
			refuse: func() { s.unreachable(k, header.UDPProtocolNumber, udpHeader(k.guest, k.remote, 0), portUnreachable) },
		})
	}
	return nil
}

// echo handles an ICMP packet of the guest. False leaves it to the stack, which answers for its own addresses alone.
func (s *Stack) echo(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	h := pkt.TransportHeader().Slice()
	guest, to := addr(id.RemoteAddress.AsSlice()), addr(id.LocalAddress.AsSlice()).Unmap()
	if s.echoed(guest, to, h, pkt) {
		return true
	}
	if len(h) < header.ICMPv4MinimumSize || isGateway(to) || isHost(to) ||
		header.ICMPv4Type(h[0]) != header.ICMPv4Echo && to.Is4() || header.ICMPv6Type(h[0]) != header.ICMPv6EchoRequest && to.Is6() {
		return false
	}
	if guest.IsUnspecified() || to.IsMulticast() || to == broadcast4 {
		return true
	}
	message := append(append([]byte(nil), h...), pkt.Data().AsRange().ToSlice()...)
	k := key{netip.AddrPortFrom(guest, pingID(h)), netip.AddrPortFrom(to, 0)}
	f := s.icmp.find(k)
	if f == nil && s.allow("icmp", k.remote) == nil {
		if s.isPeer(to) {
			f = s.openPeer(lab.Ping, k)
		} else {
			f = s.openPing(k)
		}
	}
	if f == nil {
		s.unreachable(k, pkt.TransportProtocolNumber, h[:header.ICMPv4MinimumSize], prohibited)
		return true
	}
	f.send(message)
	return true
}

func (s *Stack) openPing(k key) *flow {
	file, err := openSocket(k.remote, protoPing)
	if err != nil {
		return nil
	}
	return s.open(&s.icmp, &socket{
		flow: &flow{key: k, proto: "icmp"}, file: file,
		answer: func(message []byte) { s.sendEcho(k, message) },
		refuse: func() {},
	})
}

// lease answers a DHCP request.
func (s *Stack) lease(request []byte) bool {
	if s.config.Lease == nil {
		return true
	}
	if answer := s.config.Lease(request); answer != nil {
		s.sendUDP(netip.AddrPortFrom(gateway4, dhcpPort), netip.AddrPortFrom(broadcast4, dhcpPort+1), answer)
	}
	return true
}

// lease6 answers a DHCPv6 request.
func (s *Stack) lease6(guest netip.Addr, request []byte) bool {
	if s.config.Lease6 == nil {
		return true
	}
	if answer := s.config.Lease6(request); answer != nil {
		s.sendUDP(netip.AddrPortFrom(linkLocal, dhcp6Port), netip.AddrPortFrom(guest, dhcp6Port-1), answer)
	}
	return true
}
