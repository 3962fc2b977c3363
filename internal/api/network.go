package api

import (
	"net/netip"

	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/network/lab"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// Network is a VM's network.
type Network struct {
	Mode      network.Mode   `json:"mode"`
	Device    string         `json:"device,omitempty"` // tap, or pair: one of a pair of sockets, which is slower
	Allow     []string       `json:"allow"`
	Deny      []string       `json:"deny"`
	HostPorts []uint16       `json:"host_ports"`
	HostProxy bool           `json:"host_proxy"`
	HostCA    string         `json:"host_ca,omitempty"`
	Ports     []Port         `json:"ports"`
	Sockets   []Port         `json:"sockets"`
	Networks  []Member       `json:"networks"`         // between VMs
	Secrets   []string       `json:"secrets"`          // names of those that the VM may use
	Helper    *control.State `json:"helper,omitempty"` // while it answers
}

// Port is a port or a unix socket of the host that leads to the guest, or the other way round.
type Port struct {
	Host    string `json:"host"`
	Guest   any    `json:"guest"` // a port, or the path of a unix socket
	Proto   string `json:"proto"`
	Problem string `json:"problem,omitempty"` // why nothing listens
}

// NetworkOf is n.
func NetworkOf(n vm.Network) Network {
	j := Network{Mode: n.Mode, Allow: append([]string{}, n.Allow...), Deny: append([]string{}, n.Deny...), HostPorts: append([]uint16{}, n.HostPorts...),
		HostProxy: n.HostProxy, HostCA: n.HostCA, Ports: PortsOf(n.Ports), Sockets: SocketsOf(n.Sockets), Networks: []Member{},
		Secrets: append([]string{}, n.Secrets...), Helper: n.Helper}
	switch {
	case n.Pair:
		j.Device = "pair"
	case n.Mode != network.None || len(n.Networks) > 0:
		j.Device = "tap"
	}
	for _, m := range n.Networks {
		j.Networks = append(j.Networks, Member{Network: m.Network, Addresses: AddressesOf(m.Addr)})
	}
	return j
}

// PortsOf are ports, with what is wrong with each.
func PortsOf(ports []control.Port) []Port {
	list := []Port{}
	for _, p := range ports {
		list = append(list, Port{p.Host.String(), p.Guest, p.Proto, untrusted.Line(p.Problem, maxCell)})
	}
	return list
}

// SocketsOf are sockets, with what is wrong with each.
func SocketsOf(sockets []control.Socket) []Port {
	list := []Port{}
	for _, s := range sockets {
		list = append(list, Port{s.Host, s.Guest, SocketProto(s.Socket), untrusted.Line(s.Problem, maxCell)})
	}
	return list
}

// Addresses are the addresses of a VM on a network.
type Addresses struct {
	Address  string `json:"address"`
	Address6 string `json:"address6"`
}

// AddressesOf is what a, of IPv4, is with its address of IPv6.
func AddressesOf(a netip.Addr) Addresses {
	if !a.Is4() {
		return Addresses{}
	}
	return Addresses{a.String(), lab.Six(a).String()}
}

// Member is a VM's place on a network: of a network's the VM's name is there, of a VM's the network's.
type Member struct {
	VM      string `json:"vm,omitempty"`
	Network string `json:"network,omitempty"`
	Addresses
}

// SocketProto is in a listing the way in which a unix socket leads.
func SocketProto(s network.Socket) string {
	if s.Out {
		return "unix, out"
	}
	return "unix"
}
