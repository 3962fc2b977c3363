package stack

import (
	"encoding/binary"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"noid/internal/network/address"
)

// advertiseEvery is how often the guest hears that there is a router, which it believes for routerLifetime.
// The first time is not at once: a guest that has just come up has asked, and one that was restored knows.
const (
	advertiseFirst = 2 * time.Second
	advertiseEvery = 10 * time.Minute
	routerLifetime = 30 * time.Minute
)

// managed says that addresses are to be had by DHCPv6 (RFC 4861, 4.2).
const managed = 0x80

var allNodes = netip.MustParseAddr("ff02::1")

// advertise tells the guest every now and then what a router solicitation is answered with.
func (s *Stack) advertise() {
	wait := time.NewTimer(advertiseFirst)
	defer wait.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-wait.C:
		}
		s.sendAdvertisement()
		wait.Reset(advertiseEvery)
	}
}

// sendAdvertisement says that the gateway is the router for IPv6 (RFC 4861, 4.2), its link address and the MTU, and
// who resolves names (RFC 8106). It has no prefix: the guest has the one address that the agent gives it, and with Lease6
// says that DHCPv6 gives it too, which the guest's kernel by itself does not ask.
func (s *Stack) sendAdvertisement() {
	put := binary.BigEndian
	message := make([]byte, 16)
	message[0], message[4] = uint8(header.ICMPv6RouterAdvert), defaultTTL
	if s.config.Lease6 != nil {
		message[5] = managed
	}
	put.PutUint16(message[6:], uint16(routerLifetime/time.Second))
	message = append(append(message, 1, 1), address.GatewayMAC[:]...)                            // source link-layer address
	message = put.AppendUint32(append(message, 5, 1, 0, 0), address.MTU)                         // MTU
	message = put.AppendUint32(append(message, 25, 3, 0, 0), uint32(routerLifetime/time.Second)) // recursive DNS server
	message = append(message, address.Gateway6.AsSlice()...)
	s.sendICMP(linkLocal, allNodes, message)
}
