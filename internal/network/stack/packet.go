package stack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"noid/internal/network/address"
)

var (
	gateway4 = address.Gateway4
	// linkLocal is the gateway's address for routers' advertisements, which must come from such a one (RFC 4861, 4.2).
	linkLocal = netip.MustParseAddr("fe80::1")
)

func isHost(a netip.Addr) bool { return a == address.Host4 || a == address.Host6 }

// send sends the guest an IP packet of a transport protocol's bytes, in fragments if it is long.
func (s *Stack) send(protocol tcpip.TransportProtocolNumber, from, to netip.Addr, ttl uint8, message []byte) {
	route, err := s.stack.FindRoute(nic, tcpip.AddrFromSlice(from.AsSlice()), tcpip.AddrFromSlice(to.AsSlice()), protocolOf(to), false)
	if err != nil {
		return
	}
	defer route.Release()
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: int(route.MaxHeaderLength()), Payload: buffer.MakeWithData(message)})
	defer pkt.DecRef()
	route.WritePacket(stack.NetworkHeaderParams{Protocol: protocol, TTL: ttl}, pkt)
}

// sum is the Internet checksum of a message and, but for ICMP over IPv4, of its addresses.
func sum(protocol tcpip.TransportProtocolNumber, from, to netip.Addr, message []byte) uint16 {
	var start uint16
	if protocol != header.ICMPv4ProtocolNumber {
		start = header.PseudoHeaderChecksum(protocol, tcpip.AddrFromSlice(from.AsSlice()), tcpip.AddrFromSlice(to.AsSlice()), uint16(len(message)))
	}
	return ^checksum.Checksum(message, start)
}

// udpHeader is that of a datagram of size bytes, without a checksum.
func udpHeader(from, to netip.AddrPort, size int) []byte {
	h := make([]byte, header.UDPMinimumSize, header.UDPMinimumSize+size)
	header.UDP(h).Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: to.Port(), Length: uint16(header.UDPMinimumSize + size)})
	return h
}

func (s *Stack) sendUDP(from, to netip.AddrPort, data []byte) {
	if len(data) > 0xffff-header.UDPMinimumSize-header.IPv4MinimumSize {
		return
	}
	message := append(udpHeader(from, to, len(data)), data...)
	xsum := sum(header.UDPProtocolNumber, from.Addr(), to.Addr(), message)
	if xsum == 0 { // which would say that there is none
		xsum = 0xffff
	}
	header.UDP(message).SetChecksum(xsum)
	s.send(header.UDPProtocolNumber, from.Addr(), to.Addr(), defaultTTL, message)
}

const (
	defaultTTL = 64
	ndpTTL     = 255 // RFC 4861, 4.2
)

// pingID is the identifier of an echo request.
func pingID(h []byte) uint16 { return binary.BigEndian.Uint16(h[4:]) }

// sendEcho takes the answer to a ping to the guest, with the guest's own identifier.
func (s *Stack) sendEcho(k key, message []byte) {
	if len(message) < header.ICMPv4MinimumSize {
		return
	}
	binary.BigEndian.PutUint16(message[4:], k.guest.Port())
	s.sendICMP(k.remote.Addr(), k.guest.Addr(), message)
}

func (s *Stack) sendICMP(from, to netip.Addr, message []byte) {
	protocol, ttl := header.ICMPv4ProtocolNumber, uint8(defaultTTL)
	if to.Is6() {
		protocol, ttl = header.ICMPv6ProtocolNumber, ndpTTL
	}
	message[2], message[3] = 0, 0
	binary.BigEndian.PutUint16(message[2:], sum(protocol, from, to, message))
	s.send(protocol, from, to, ttl, message)
}

// why a packet of the guest was not delivered.
type why int

const (
	portUnreachable why = iota
	prohibited
)

// unreachable tells the guest that a packet from it, whose transport header begins with these 8 bytes, was not
// delivered.
func (s *Stack) unreachable(k key, protocol tcpip.TransportProtocolNumber, transport []byte, reason why) {
	from, to := k.guest.Addr(), k.remote.Addr()
	if to.Is4() {
		codes := [...]header.ICMPv4Code{portUnreachable: header.ICMPv4PortUnreachable, prohibited: header.ICMPv4AdminProhibited}
		message := make([]byte, header.ICMPv4MinimumSize+header.IPv4MinimumSize)
		message[0], message[1] = uint8(header.ICMPv4DstUnreachable), uint8(codes[reason])
		header.IPv4(message[header.ICMPv4MinimumSize:]).Encode(&header.IPv4Fields{
			TotalLength: uint16(header.IPv4MinimumSize + len(transport)), TTL: defaultTTL, Protocol: uint8(protocol),
			SrcAddr: tcpip.AddrFrom4(from.As4()), DstAddr: tcpip.AddrFrom4(to.As4()),
		})
		s.sendICMP(to, from, append(message, transport...))
		return
	}
	codes := [...]header.ICMPv6Code{portUnreachable: header.ICMPv6PortUnreachable, prohibited: header.ICMPv6Prohibited}
	message := make([]byte, header.ICMPv6MinimumSize+header.IPv6MinimumSize)
	message[0], message[1] = uint8(header.ICMPv6DstUnreachable), uint8(codes[reason])
	header.IPv6(message[header.ICMPv6MinimumSize:]).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(transport)), TransportProtocol: protocol, HopLimit: defaultTTL,
		SrcAddr: tcpip.AddrFrom16(from.As16()), DstAddr: tcpip.AddrFrom16(to.As16()),
	})
	s.sendICMP(to, from, append(message, transport...))
}
