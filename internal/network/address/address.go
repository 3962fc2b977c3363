// Package address has the addresses that a VM's network has inside: the same for every VM, because they are in the
// memory of its checkpoints. They can never change.
package address

import "net/netip"

// MTU is that of the guest's network device, in bytes.
const MTU = 1500

// The guest's own addresses and those it sees beside it. Gateway also answers DNS and DHCP. Host stands for this host:
// it answers on the ports that the user has named.
var (
	Guest4   = netip.MustParsePrefix("10.63.0.2/24")
	Gateway4 = netip.MustParseAddr("10.63.0.1")
	Host4    = netip.MustParseAddr("10.63.0.254")
	Guest6   = netip.MustParsePrefix("fd63:6e6f:6964::2/64")
	Gateway6 = netip.MustParseAddr("fd63:6e6f:6964::1")
	Host6    = netip.MustParseAddr("fd63:6e6f:6964::fe")
)

// GuestMAC and GatewayMAC are locally administered (IEEE 802, the second bit).
var (
	GuestMAC   = [6]byte{0x02, 'n', 'o', 'i', 'd', 2}
	GatewayMAC = [6]byte{0x02, 'n', 'o', 'i', 'd', 1}
)

// HostName is the name of Host4 and Host6 in the guest.
const HostName = "host.noid.internal"

// RelayPort is the TCP port of Guest4 and Guest6 at which the agent connects Host4 and Host6, and nobody else, to
// servers on the guest's loopback and to unix sockets. RelaySockets and RelayAccept begin lines that it is told.
const (
	RelayPort    = 61
	RelaySockets = "sockets"
	RelayAccept  = "accept"
)

// RelayCome is a line that the agent says on a connection for RelaySockets, as JSON.
type RelayCome struct {
	Path   string `json:"path"`             // of the guest's socket
	Number uint64 `json:"number,omitempty"` // of who has come to it
	Error  string `json:"error,omitempty"`  // why there is no such socket
}
