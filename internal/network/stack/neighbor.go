package stack

import (
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"noid/internal/network/address"
)

// answerSolicit answers the question for the link address of any neighbor but the stack itself, which answers for its
// own, and the guest. So what the guest sends to an address of this link is refused, as all is that leads nowhere, and
// it does not wait for a neighbor that there is not. ARP is answered so by the stack.
func (s *Stack) answerSolicit(packet []byte) {
	const at = header.IPv6MinimumSize + 8 // of the target
	if packet[6] != uint8(header.ICMPv6ProtocolNumber) || len(packet) < at+16 ||
		header.ICMPv6Type(packet[header.IPv6MinimumSize]) != header.ICMPv6NeighborSolicit {
		return
	}
	from, target := addr(packet[8:24]), addr(packet[at:at+16])
	if target.IsMulticast() || target == from || slices.Contains([]netip.Addr{address.Guest6.Addr(), address.Gateway6, address.Host6, linkLocal}, target) {
		return
	}
	const solicited, override = 0x40, 0x20
	message := append([]byte{uint8(header.ICMPv6NeighborAdvert), 0, 0, 0, solicited | override, 0, 0, 0}, target.AsSlice()...)
	message = append(append(message, 2, 1), address.GatewayMAC[:]...) // target link-layer address
	s.sendICMP(target, from, message)
}
