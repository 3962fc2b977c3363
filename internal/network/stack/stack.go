// Package stack is the network that a VM sees: a TCP/IP stack in user space at the other end of the guest's wire. It
// answers for every address, ends the guest's connections and makes its own to where they lead, if the policy allows.
package stack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"noid/internal/network/address"
	"noid/internal/network/lab"
)

// Policy says what the guest may reach. It is asked from many goroutines.
type Policy interface {
	// Allow returns nil, or in one line why the guest may not reach an address. proto is tcp, udp or icmp; of icmp
	// the port is 0. address.Host4 and Host6 stand for this host's loopback.
	Allow(proto string, to netip.AddrPort) error
	// Keep is Allow for a flow that there is already.
	Keep(proto string, to netip.AddrPort) error
}

// Interceptor looks into TCP connections of the guest that the policy allows.
type Interceptor interface {
	// Wants reports whether Handle is to see the connections to port.
	Wants(port uint16) bool
	// Handle serves a connection that the guest opened to port, until its end, and returns nil; or it returns the
	// connection, to be relayed as it is. An error means that it is closed.
	Handle(guest net.Conn, port uint16) (net.Conn, error)
}

// Peers are the other VMs on the networks of this one.
type Peers interface {
	// Has reports whether an address is one of such a network, whether there is a VM or not. The policy is asked about
	// flows to it as about others.
	Has(a netip.Addr) bool
	// Open opens a flow of the guest's port to such an address, and waits up to wait for the other VM's helper to have
	// room for it. unix.ECONNREFUSED: nobody is there.
	Open(proto lab.Proto, port uint16, to netip.AddrPort, wait time.Duration) (*lab.Conn, error)
}

// Config is what a Stack is made of. All but FD and Policy may be left out.
type Config struct {
	// FD carries the frames, one a read or write, each with a virtio_net_hdr of 10 bytes before it. The stack has it
	// for itself, and closes it.
	FD     int
	Bare   bool // frames have no virtio_net_hdr: who has FD's other end cuts none and computes no checksums
	Policy Policy
	// Resolve answers a DNS query to the gateway; nil is no answer. proto is tcp or udp.
	Resolve func(ctx context.Context, query []byte, proto string) []byte
	// Lease answers a DHCP request, Lease6 one of DHCPv6; nil is no answer.
	Lease, Lease6 func(request []byte) []byte
	Interceptor   Interceptor
	Peers         Peers
	// Dial makes the TCP connections to what the policy allows; nil: as any program of this host.
	Dial func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error)
	// Refused is told of each flow that the policy refuses. It must not block.
	Refused func(proto string, to netip.AddrPort, why error)
	Limits  Limits
}

const nic tcpip.NICID = 1

// Stack is the network of one VM.
type Stack struct {
	config  Config
	policy  atomic.Pointer[Policy]
	stack   *stack.Stack
	link    *link
	ctx     context.Context
	cancel  context.CancelFunc
	tcp     table
	udp     table
	icmp    table
	peers   peerTables
	closing closing
	queries chan struct{} // one token for each DNS query that is being answered
	calling chan struct{} // and for each connection to the guest that is being made
	pings   [2]error      // why this host sends no pings, over IPv4 and IPv6
	refused atomic.Uint64
	stale   stale
	senders senders
}

// New makes a stack. Run has it work.
func New(c Config) (*Stack, error) {
	l, err := newLink(c.FD, c.Bare)
	if err != nil {
		return nil, err
	}
	c.Limits = c.Limits.orDefault()
	if c.Dial == nil {
		c.Dial = dialDirectly
	}
	s := &Stack{config: c, link: l, queries: make(chan struct{}, c.Limits.Queries), calling: make(chan struct{}, c.Limits.Connecting)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.tcp.max, s.udp.max, s.icmp.max = c.Limits.TCP, c.Limits.UDP, c.Limits.ICMP
	s.peers.bound(c.Limits)
	s.closing.max = c.Limits.Closing
	s.SetPolicy(c.Policy)
	s.pings = [2]error{tryPing(netip.IPv4Unspecified()), tryPing(netip.IPv6Unspecified())}
	s.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if err := s.setUp(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// setUp makes the one device, which takes frames for every address and sends from every address, and its handlers.
func (s *Stack) setUp() error {
	if err := s.tune(); err != nil {
		return fmt.Errorf("setting up tcp: %v", err)
	}
	if err := s.stack.CreateNIC(nic, s.link); err != nil {
		return fmt.Errorf("making the network device: %v", err)
	}
	s.stack.SetPromiscuousMode(nic, true)
	s.stack.SetSpoofing(nic, true)
	for _, a := range []netip.Addr{address.Gateway4, address.Host4, address.Gateway6, address.Host6, linkLocal} {
		bits := address.Guest4.Bits()
		if a.Is6() {
			bits = address.Guest6.Bits()
		}
		own := tcpip.ProtocolAddress{Protocol: protocolOf(a), AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(a.AsSlice()), PrefixLen: bits}}
		if err := s.stack.AddProtocolAddress(nic, own, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("adding the address %s: %v", a, err)
		}
	}
	if err := s.stack.JoinGroup(ipv6.ProtocolNumber, nic, tcpip.AddrFromSlice(dhcpServers.AsSlice())); err != nil {
		return fmt.Errorf("joining the group of dhcpv6: %v", err)
	}
	s.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic}})
	forward := tcp.NewForwarder(s.stack, bufferMax, s.config.Limits.Connecting, s.accept)
	s.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, forward.HandlePacket)
	s.stack.SetTransportProtocolHandler(udp.ProtocolNumber, s.datagram)
	s.stack.SetTransportProtocolHandler(icmp.ProtocolNumber4, s.echo)
	s.stack.SetTransportProtocolHandler(icmp.ProtocolNumber6, s.echo)
	s.link.rx = s.watch
	return nil
}

const (
	// bufferMax bounds what is kept of one connection and direction, in bytes. The guest is near: more is no faster.
	bufferMax = 512 << 10
	// timeWait is short: nothing on this wire is late.
	timeWait = 2 * time.Second
	// resendAfter is how long an ACK of the guest's may take until it is sent the same again, and maxRTO at most. An
	// emulated or paused guest answers late, and the wire loses next to nothing: to send again sooner, and slowly from
	// then on, would be wrong nearly always. A guest that stands still, for hours perhaps, goes on with its connections.
	resendAfter = time.Second
	maxRTO      = 2 * time.Second
	maxRetries  = 1 << 20
)

func (s *Stack) tune() tcpip.Error {
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: bufferMax, Max: bufferMax}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: bufferMax, Max: bufferMax}
	wait, sack := tcpip.TCPTimeWaitTimeoutOption(timeWait), tcpip.TCPSACKEnabled(true)
	least, most, retries := tcpip.TCPMinRTOOption(resendAfter), tcpip.TCPMaxRTOOption(maxRTO), tcpip.TCPMaxRetriesOption(maxRetries)
	// RACK probes after two round trips, and can take one timeout for each segment that a guest in a pause has lost.
	rack := tcpip.TCPRecovery(0)
	for _, option := range []tcpip.SettableTransportProtocolOption{&receive, &send, &wait, &sack, &most, &least, &retries, &rack} {
		if err := s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return err
		}
	}
	return nil
}

// Stats are numbers since the start, and what this host can do.
type Stats struct {
	Sent, Got uint64 // bytes from and to the guest, of flows that have ended too
	Refused   uint64
	NoPing    error // why this host forwards no pings over IPv4
}

// Stats returns them as they are now.
func (s *Stack) Stats() Stats {
	stats := Stats{Refused: s.refused.Load(), NoPing: s.pings[0]}
	for _, t := range s.tables() {
		sent, got := t.total()
		stats.Sent, stats.Got = stats.Sent+sent, stats.Got+got
	}
	return stats
}

// Run serves the guest until Close. It returns nil then, or what reading the link failed with.
func (s *Stack) Run() error {
	go s.advertise()
	go s.bound()
	time.AfterFunc(queueWait, s.link.useQueue)
	return s.link.receive()
}

// Close cuts all flows and ends Run.
func (s *Stack) Close() {
	s.cancel()
	for _, t := range s.tables() {
		t.cut(func(*flow) bool { return true })
	}
	s.link.file.Close()
	s.stack.Close()
}

// SetPolicy has another policy hold from now on, and cuts the flows that it does not allow. It returns their number.
func (s *Stack) SetPolicy(p Policy) int {
	s.policy.Store(&p)
	cut := 0
	for _, t := range s.tables() {
		cut += t.cut(func(f *flow) bool {
			return !f.inbound && p.Keep(f.proto, f.remote) != nil || f.peer && !s.isPeer(f.remote.Addr())
		})
	}
	return cut
}

func (s *Stack) tables() []*table {
	return []*table{&s.tcp, &s.udp, &s.icmp, &s.peers.tcp, &s.peers.udp, &s.peers.icmp}
}

// allow asks the policy about an address of the guest's choice, and tells of a refusal.
func (s *Stack) allow(proto string, to netip.AddrPort) error {
	err := (*s.policy.Load()).Allow(proto, to)
	if err != nil {
		s.refused.Add(1)
		if s.config.Refused != nil {
			s.config.Refused(proto, to, err)
		}
	}
	return err
}

// holds reports whether the policy allows a flow now that it is in its table: it may have changed while the flow was
// being made.
func (s *Stack) holds(f *flow) bool {
	if f.peer {
		return s.isPeer(f.remote.Addr())
	}
	return f.inbound || (*s.policy.Load()).Allow(f.proto, f.remote) == nil
}

// targets is what to dial to reach an address of the guest's choice.
func targets(to netip.AddrPort) []netip.AddrPort {
	if to.Addr() == address.Host4 || to.Addr() == address.Host6 {
		return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port()), netip.AddrPortFrom(netip.IPv6Loopback(), to.Port())}
	}
	return []netip.AddrPort{to}
}

func isGateway(a netip.Addr) bool {
	return a == address.Gateway4 || a == address.Gateway6 || a == linkLocal
}
