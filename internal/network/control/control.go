// Package control is how noid talks to the network helper of a VM: over a unix socket in the VM's directory, one
// request and one answer a connection, each a line of JSON.
package control

import (
	"net/netip"
	"time"

	"noid/internal/network"
	"noid/internal/network/grant"
)

// Op is what a request asks for.
type Op string

const (
	// Reload has the helper read the configuration again. Flows that it no longer allows are cut.
	Reload Op = "reload"
	Status Op = "status"
	Flows  Op = "flows"
	// Forward adds Request.Ports for as long as the connection stays open: after its answer nothing more is sent.
	Forward Op = "forward"
	// Connect has the connection that comes with the request, as a descriptor, lead to Request.Socket, a unix socket of the
	// guest's. Once it is answered the connection is the network helper's.
	Connect Op = "connect"
	// Broker has who asks serve requests of the network helper's own on the connection, for what that may not do: see
	// Errand. It stays open until one of them ends.
	Broker Op = "broker"
	// SetSecrets has each of Request.Secrets hold from the next request of the guest on, in place of what was given of
	// the same name, unless that was looked up later. The helper keeps them in its memory alone, and forgets those that
	// the configuration does not name.
	SetSecrets Op = "secrets"
)

// Request is what noid asks.
type Request struct {
	Op      Op             `json:"op"`
	Ports   []network.Port `json:"ports,omitempty"`
	Socket  string         `json:"socket,omitempty"`
	Secrets *Secrets       `json:"secrets,omitempty"`
}

// Secrets are what the VM may use, with their values, and the authority whose certificates the guest trusts.
type Secrets struct {
	CertPEM []byte        `json:"cert"`
	KeyPEM  []byte        `json:"key"`
	Grants  []grant.Grant `json:"grants"`
	// Began is when looking them up began, in nanoseconds since this host's boot.
	Began int64 `json:"began"`
}

// Answer is what the helper says. With Error it has done nothing.
type Answer struct {
	Error string `json:"error,omitempty"`
	// Ports are all that it should listen on, of Forward those of the request.
	Ports []Port `json:"ports,omitempty"`
	// Sockets are those that do not work, each with the reason.
	Sockets []Socket `json:"sockets,omitempty"`
	Cut     int      `json:"cut,omitempty"` // flows that Reload has cut
	Status  *State   `json:"status,omitempty"`
	Flows   []Flow   `json:"flows,omitempty"`
}

// Port is a port, and why the helper does not listen on it, if so.
type Port struct {
	network.Port
	Problem string `json:"problem,omitempty"`
}

// NoBroker is the problem of all sockets of a network helper that has no broker, or none yet: one comes a moment after it.
const NoBroker = "the helper of the vm does not run"

// Socket is a socket, and what is wrong with it.
type Socket struct {
	network.Socket
	Problem string `json:"problem"`
}

// Errand is what a network helper asks of its broker, in a line of JSON.
type Errand struct {
	// Dial is the path of a unix socket of this host, one of the configuration's. The answer has a connection to it as a
	// descriptor. Empty: the broker is to listen at the configuration's sockets of this host, as they are now.
	Dial string `json:"dial,omitempty"`
}

// Done is the answer to an Errand, likewise.
type Done struct {
	Error   string   `json:"error,omitempty"`
	Sockets []Socket `json:"sockets,omitempty"` // those of the host that the broker cannot listen at
}

// State is how a helper is.
type State struct {
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
	Memory  int64     `json:"memory"` // bytes, resident
	Flows   int       `json:"flows"`
	Sent    uint64    `json:"sent"` // bytes from the guest
	Got     uint64    `json:"got"`  // bytes to the guest
	Refused uint64    `json:"refused"`
	Ping    bool      `json:"ping"` // this host forwards the guest's pings
	IPv6    bool      `json:"ipv6"` // this host has a route
}

// Flow is a connection of the guest, or datagrams between two addresses. One without Guest is a connection that the
// helper has made for the guest's requests with secrets.
type Flow struct {
	Proto   string         `json:"proto"` // tcp, udp or icmp
	Guest   netip.AddrPort `json:"guest"`
	Remote  netip.AddrPort `json:"remote"`            // as the guest sees it
	Inbound bool           `json:"inbound,omitempty"` // it came by a port of the host
	Sent    uint64         `json:"sent"`              // bytes of the guest
	Got     uint64         `json:"received"`          // bytes for the guest
}
