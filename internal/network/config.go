// Package network describes the network of a VM: what it may reach, and which ports of the host lead to it.
package network

import (
	"net/netip"
	"slices"
)

// ConfigFile, in a VM's directory, has its Config as JSON. ControlSocket is where the network helper listens.
const (
	ConfigFile    = "net.json"
	ControlSocket = "net.sock"
	ErrorsFile    = "net.err" // what helpers said before they died
)

// HelperDir, in a VM's directory, is the one in which the network helper writes. LogFile, there, is its log, one JSON
// object a line.
const (
	HelperDir = "net"
	LogFile   = "net.log"
	// FlowsFile, in a checkpoint, has the flows of its VM, an array of control.Flow as JSON: the helper of the restored VM,
	// which has it in HelperDir, reads it once, removes it, and has the guest learn that they are gone.
	FlowsFile = "net.flows"
)

// ResolvConf lists this host's resolvers.
const ResolvConf = "/etc/resolv.conf"

// Mode is what a VM may reach where no rule says otherwise.
type Mode string

const (
	None    Mode = "none"    // it has no network device
	Default Mode = "default" // the internet, and nothing of this host or of private networks
	Open    Mode = "open"    // all that this host reaches, but not this host itself
)

// Modes are all of them.
var Modes = []Mode{None, Default, Open}

// Config is the network of a VM as the user wants it. It is the VM's own: a clone has the rules and no ports.
type Config struct {
	Mode  Mode     `json:"mode"`
	Allow []string `json:"allow,omitempty"` // CIDR, address or domain, with a port perhaps; alone they mean: nothing else
	Deny  []string `json:"deny,omitempty"`  // likewise; they win over Allow
	// HostPorts are TCP and UDP ports of this host's loopback that the guest reaches at address.HostName.
	HostPorts []uint16 `json:"host_ports,omitempty"`
	Ports     []Port   `json:"ports,omitempty"`
	Sockets   []Socket `json:"sockets,omitempty"`
	// HostProxy has TCP go by this host's HTTP proxy, which the environment of noid names, and nothing else go anywhere.
	HostProxy bool `json:"host_proxy,omitempty"`
	// HostCA are certificates that the guest is to trust too: a file of them, or HostCerts.
	HostCA string `json:"host_ca,omitempty"`
	// Secrets are the names of those that the VM may use. A clone has none.
	Secrets []string `json:"secrets,omitempty"`
	// Networks are those between VMs that it is on. A clone has addresses of its own there.
	Networks []Member `json:"networks,omitempty"`
}

// Member is a VM on a network between VMs.
type Member struct {
	Network string     `json:"network"`
	Addr    netip.Addr `json:"addr"` // of IPv4; not valid: the VM has none yet
}

// HostCerts are the authorities that this host's administrator has added to those of its distribution.
const HostCerts = "host"

// ForClone is the network of a clone of a VM with c: its rules, and nothing that only one VM can have.
func (c Config) ForClone() Config {
	c.Ports, c.Sockets, c.Secrets = nil, nil, nil
	c.Networks = slices.Clone(c.Networks)
	for i := range c.Networks {
		c.Networks[i].Addr = netip.Addr{}
	}
	return c
}

// Port is a port of the host that leads to one of the guest.
type Port struct {
	Proto string         `json:"proto"` // tcp or udp
	Host  netip.AddrPort `json:"host"`  // where the helper listens
	Guest uint16         `json:"guest"`
}
