package stack

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"noid/internal/network/address"
)

// admit reports whether the stack is to see a frame of the guest: ARP and IP from the guest's own addresses. The stack
// answers for every address but the guest's, or the guest would take its own for a duplicate.
func admit(frame []byte) bool {
	body := frame[header.EthernetMinimumSize:]
	switch header.Ethernet(frame).Type() {
	case header.ARPProtocolNumber:
		arp := header.ARP(body)
		return arp.IsValid() && addr(arp.ProtocolAddressTarget()) != address.Guest4.Addr() &&
			addr(arp.ProtocolAddressSender()) != netip.IPv4Unspecified()
	case header.IPv4ProtocolNumber:
		if len(body) < header.IPv4MinimumSize {
			return false
		}
		source := addr(body[12:16])
		return source == address.Guest4.Addr() || source.IsUnspecified() && body[9] == uint8(header.UDPProtocolNumber)
	case header.IPv6ProtocolNumber:
		if len(body) < header.IPv6MinimumSize {
			return false
		}
		source := addr(body[8:24])
		return address.Guest6.Contains(source) && source != address.Gateway6 && source != address.Host6 ||
			source.IsLinkLocalUnicast() || source.IsUnspecified() && isRouterSolicit(body)
	}
	return false
}

// isRouterSolicit is false for what else comes from no address: the question whether an address is a duplicate.
func isRouterSolicit(packet []byte) bool {
	icmp := packet[header.IPv6MinimumSize:]
	return packet[6] == uint8(header.ICMPv6ProtocolNumber) && len(icmp) > 0 && header.ICMPv6Type(icmp[0]) == header.ICMPv6RouterSolicit
}

// addr is an address from the bytes of a packet, of 4 or 16 of them.
func addr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// addrPort is the address of the stack as Go's.
func addrPort(a tcpip.Address, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(addr(a.AsSlice()), port)
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}
