package stack

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"noid/internal/network/control"
)

const (
	// probeEvery and probeFor bound how the guest is asked about flows of before: it may not run yet.
	probeEvery = 200 * time.Millisecond
	probeFor   = time.Minute
	// maxStale bounds how many flows of before are asked about.
	maxStale = 4096
)

// stale has the guest's TCP flows of before its restore, until the guest has said something of each.
type stale struct {
	mu    sync.Mutex
	flows map[key]bool
}

// Reset has the guest learn that its TCP connections of before are gone, and not when it next uses them: each gets a
// segment out of its window, which a TCP answers with an ACK (RFC 9293, 3.10.7.4), and the stack answers that with RST.
// It returns at once.
func (s *Stack) Reset(flows []control.Flow) {
	s.stale.mu.Lock()
	s.stale.flows = map[key]bool{}
	for _, f := range flows {
		if f.Proto == "tcp" && f.Guest.IsValid() && f.Remote.IsValid() && len(s.stale.flows) < maxStale {
			s.stale.flows[key{f.Guest, f.Remote}] = true
		}
	}
	s.stale.mu.Unlock()
	go func() {
		tick := time.NewTicker(probeEvery)
		defer tick.Stop()
		end := time.After(probeFor)
		for s.probe() {
			select {
			case <-s.ctx.Done():
				return
			case <-end:
				return
			case <-tick.C:
			}
		}
	}()
}

// probe sends a segment to each flow that the guest has said nothing of, and reports whether there are any.
func (s *Stack) probe() bool {
	s.stale.mu.Lock()
	defer s.stale.mu.Unlock()
	for k := range s.stale.flows {
		h := make([]byte, header.TCPMinimumSize)
		header.TCP(h).Encode(&header.TCPFields{
			SrcPort: k.remote.Port(), DstPort: k.guest.Port(), SeqNum: rand.Uint32(), AckNum: rand.Uint32(),
			DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagAck, WindowSize: 0,
		})
		header.TCP(h).SetChecksum(sum(header.TCPProtocolNumber, k.remote.Addr(), k.guest.Addr(), h))
		s.send(header.TCPProtocolNumber, k.remote.Addr(), k.guest.Addr(), defaultTTL, h)
	}
	return len(s.stale.flows) > 0
}

// watch sees each frame of the guest before the stack: solicitations, which the stack does not answer, the answers to
// probes, and refusals of what other VMs sent.
func (s *Stack) watch(frame []byte) {
	body := frame[header.EthernetMinimumSize:]
	eth := header.Ethernet(frame)
	if eth.Type() == header.IPv6ProtocolNumber {
		if isRouterSolicit(body) {
			s.sendAdvertisement()
		}
		s.answerSolicit(body)
	}
	s.refusal(eth.Type(), body)
	s.stale.mu.Lock()
	defer s.stale.mu.Unlock()
	if len(s.stale.flows) == 0 {
		return
	}
	if k, ok := keyOf(eth.Type(), body, header.TCPProtocolNumber); ok {
		delete(s.stale.flows, k)
	}
}

// keyOf is the flow of a packet of the guest's, of that protocol and without options of IP.
func keyOf(network tcpip.NetworkProtocolNumber, packet []byte, protocol tcpip.TransportProtocolNumber) (k key, ok bool) {
	var from, to netip.Addr
	var ports []byte
	switch {
	case network == header.IPv4ProtocolNumber && len(packet) >= header.IPv4MinimumSize+4 && packet[9] == uint8(protocol):
		from, to, ports = addr(packet[12:16]), addr(packet[16:20]), packet[header.IPv4MinimumSize:]
	case network == header.IPv6ProtocolNumber && len(packet) >= header.IPv6MinimumSize+4 && packet[6] == uint8(protocol):
		from, to, ports = addr(packet[8:24]), addr(packet[24:40]), packet[header.IPv6MinimumSize:]
	default:
		return k, false
	}
	return key{netip.AddrPortFrom(from, binary.BigEndian.Uint16(ports)), netip.AddrPortFrom(to, binary.BigEndian.Uint16(ports[2:]))}, true
}
