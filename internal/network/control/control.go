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
	// SetSecrets has each of Request.Secrets hold from the next request of the guest on, in place of what was given of
	// the same name, unless that was looked up later. The helper keeps them in its memory alone, and forgets those that
	// the configuration does not name.
	SetSecrets Op = "secrets"
)

// Request is what noid asks.
type Request struct {
	Op      Op             `json:"op"`
	Ports   []network.Port `json:"ports,omitempty"`
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
	Ports  []Port `json:"ports,omitempty"`
	Cut    int    `json:"cut,omitempty"` // flows that Reload has cut
	Status *State `json:"status,omitempty"`
	Flows  []Flow `json:"flows,omitempty"`
}

// Port is a port, and why the helper does not listen on it, if so.
type Port struct {
	network.Port
	Problem string `json:"problem,omitempty"`
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
