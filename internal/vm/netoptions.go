package vm

import (
	"cmp"
	"slices"
	"strings"

	"noid/internal/errs"
	"noid/internal/network"
)

// NetOptions say what network a new VM has.
type NetOptions struct {
	// Network is a mode or the name of a profile; empty is what the configuration says, then mode default.
	Network     string
	Allow, Deny []string // rules, added to the profile's
	HostPorts   []uint16 // likewise
	Ports       [][]network.Port
	Sockets     []network.Socket
	Secrets     []string // names of those that the VM may use
	HostProxy   bool     // as in network.Config
	HostCA      string   // likewise
	Networks    []string // names of the networks between VMs that it is on
}

// asks are the flags for which a VM needs a network: out are those that lead out of it, inner those that make sense
// between VMs too.
func (o NetOptions) asks() (out, inner []string) {
	isIn := func(s network.Socket) bool { return !s.Out }
	for _, f := range []struct {
		flag  string
		asked bool
		list  *[]string
	}{
		{"--allow", len(o.Allow) > 0, &out}, {"--host-port", len(o.HostPorts) > 0, &out}, {"--secret", len(o.Secrets) > 0, &out},
		{"--host-proxy", o.HostProxy, &out}, {"--host-ca", o.HostCA != "", &out}, {"--deny", len(o.Deny) > 0, &inner},
		{"-p", len(o.Ports) > 0 || slices.ContainsFunc(o.Sockets, isIn), &inner},
		{"--socket", slices.ContainsFunc(o.Sockets, func(s network.Socket) bool { return s.Out }), &inner},
	} {
		if f.asked {
			*f.list = append(*f.list, f.flag)
		}
	}
	return out, inner
}

// netByDefault reports whether neither o nor the configuration asks for a network.
func (m *Manager) netByDefault(o NetOptions) bool {
	out, inner := o.asks()
	return o.Network == "" && m.Config.Net == "" && len(out)+len(inner)+len(o.Networks) == 0
}

// profile is the profile or mode of o. One without a network that o asks for is errs.ErrUsage.
func (m *Manager) profile(o NetOptions) (network.Config, error) {
	name := cmp.Or(o.Network, m.Config.Net, string(network.Default))
	c, err := m.Config.Network(name)
	if err != nil || c.Mode != network.None {
		return c, err
	}
	out, inner := o.asks()
	has := "has no network"
	if len(o.Networks) > 0 {
		has, inner = "reaches other vms alone", nil
	}
	if len(out)+len(inner) == 0 {
		return c, nil
	}
	by := "--net " + name
	if o.Network == "" {
		by = "the configuration's net = " + name
	}
	return c, errs.New(errs.ErrUsage, "%s: with %s a vm %s", strings.Join(append(out, inner...), ", "), by, has).Hint("choose --net default")
}

// CheckNetwork refuses, as errs.ErrUsage, options of which one forbids another. Create and Run do so too; a caller may want
// to know before it gets an image.
func (m *Manager) CheckNetwork(o NetOptions) error {
	_, err := m.profile(o)
	return err
}
