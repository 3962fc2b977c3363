package vm

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noid/internal/errs"
	"noid/internal/network"
	"noid/internal/network/address"
	"noid/internal/network/lab"
	"noid/internal/network/policy"
	"noid/internal/network/proxy"
)

// network is the network of o, without its ports.
func (m *Manager) network(o NetOptions) (network.Config, error) {
	c, err := m.profile(o)
	if err != nil {
		return c, err
	}
	if c.Networks, err = m.membersOf(nil, o.Networks); err != nil {
		return c, err
	}
	if err := m.addRules(&c, o.Allow, o.Deny); err != nil {
		return c, err
	}
	for _, port := range o.HostPorts {
		if !slices.Contains(c.HostPorts, port) {
			c.HostPorts = append(c.HostPorts, port)
		}
	}
	if _, err := policy.Parse(c); err != nil {
		return c, err
	}
	if c.Secrets, err = m.addSecrets(nil, o.Secrets); err != nil {
		return c, err
	}
	c.HostProxy, c.HostCA = c.HostProxy || o.HostProxy, cmp.Or(o.HostCA, c.HostCA)
	if _, err := hostAuthorities(c.HostCA); err != nil {
		return c, err
	}
	if err := knowsProxy(c); err != nil {
		return c, err
	}
	c.Sockets = o.Sockets
	if err := network.CheckFree(c.Sockets); err != nil {
		return c, err
	}
	m.warnUnheard(c.Sockets)
	return c, err
}

// knowsProxy refuses a VM that has its network by this host's proxy, where nothing names that.
func knowsProxy(c network.Config) error {
	if !c.HostProxy {
		return nil
	}
	return proxy.Known()
}

// addRules adds rules that are not there yet. What is no rule is added too: policy.Parse refuses it. A rule that names a
// VM or this host is errs.ErrUsage: such a name is no domain, so the rule would mean nothing.
func (m *Manager) addRules(c *network.Config, allow, deny []string) error {
	for _, l := range []struct {
		list *[]string
		new  []string
	}{{&c.Allow, allow}, {&c.Deny, deny}} {
		for _, text := range l.new {
			if r, err := policy.ParseRule(text); err == nil {
				if r.Name() == address.HostName {
					return errs.New(errs.ErrUsage, "the rule %q names this host: no rule is about it by this name", text).
						Hint("'noid create' and 'run' take --host-port PORT, and nothing else opens it")
				}
				if name := m.vmNamed(r.Name()); name != "" {
					return errs.New(errs.ErrUsage, "the rule %q names vm %q: no rule is about a vm by its name", text, name).
						Hint("vms reach each other on a network that both are on: see 'noid network'. A rule to deny takes the vm's address there")
				}
				text = r.String()
			}
			if !slices.Contains(*l.list, text) {
				*l.list = append(*l.list, text)
			}
		}
	}
	return nil
}

// vmNamed is the VM that guests find by the name domain, its own or with a network's behind it, or "".
func (m *Manager) vmNamed(domain string) string {
	first, behind, _ := strings.Cut(domain, ".")
	if behind != "" {
		if _, err := lab.Load(m.Home.NetworksDir(), behind); err != nil {
			return ""
		}
	}
	names, err := m.Home.VMNames()
	if i := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, first) }); err == nil && i >= 0 {
		return names[i]
	}
	return ""
}

// saveNet writes the network of a VM that is being made.
func (s *session) saveNet(ctx context.Context) error {
	if s.net == nil || !s.vm.Machine.Net {
		return nil
	}
	if err := network.MakeHelperDir(s.dir); err != nil { // before its VMM could put something in its place
		return err
	}
	if len(s.net.Networks) == 0 {
		return s.net.Save(s.dir)
	}
	return s.join(ctx, s.net)
}

// netFile is the path of a file of the network helper of a VM that is being made.
func (s *session) netFile(name string) string { return s.file(filepath.Join(network.HelperDir, name)) }

// netOfClone is the network of a clone of s: its rules and networks, those that the clone is to be on too, and its own
// ports, reserved until release.
func (s source) netOfClone(ctx context.Context) (net *network.Config, release func(), err error) {
	if !s.c.Machine.Net {
		if len(s.ports)+len(s.sockets)+len(s.grants)+len(s.networks) > 0 {
			return nil, nil, errs.New(errs.ErrState, "%s: vm %q had no network device, so its clone has no ports, sockets, secrets and networks", s.verb, s.c.VM).
				Hint("leave out -p, --socket, --forward-agent, --secret and --network")
		}
		return nil, func() {}, nil
	}
	c := network.Config{Mode: network.Default}
	if s.c.Network != nil {
		c = s.c.Network.ForClone()
	}
	if c.Networks, err = s.membersOf(c.Networks, s.networks); err != nil {
		return nil, nil, err
	}
	if c.Secrets, err = s.addSecrets(nil, s.grants); err != nil {
		return nil, nil, err
	}
	if err := knowsProxy(c); err != nil {
		return nil, nil, err
	}
	c.Sockets = s.sockets
	if err := network.CheckFree(c.Sockets); err != nil {
		return nil, nil, err
	}
	s.warnUnheard(c.Sockets)
	c.Ports, release, err = network.Reserve(ctx, s.ports)
	return &c, release, err
}

// noticePorts says that clones of s have none of its ports.
func (s source) noticePorts() {
	if s.c.Network == nil {
		return
	}
	if len(s.c.Network.Ports) > 0 && len(s.ports) == 0 {
		s.notice(fmt.Sprintf("a clone has none of the ports of vm %q; -p gives it its own", s.c.VM))
	}
	if len(s.c.Network.Sockets) > 0 && len(s.sockets) == 0 {
		s.notice(fmt.Sprintf("a clone has none of the sockets of vm %q; -p, --socket and --forward-agent give it its own", s.c.VM))
	}
}

// netInPlace is the network of a VM that is put back to s: what it is now, and for one that was destroyed, or whose
// configuration is damaged, what it was.
// Where its helper does not have the ports, they must be free. They are reserved until release.
func (s source) netInPlace(ctx context.Context, runs bool) (net *network.Config, release func(), err error) {
	if !s.c.Machine.Net {
		return nil, func() {}, nil
	}
	c, err := network.Load(s.Home.VMDir(s.c.VM))
	lost := err != nil || !exists(filepath.Join(s.Home.VMDir(s.c.VM), network.ConfigFile))
	switch {
	case err != nil && s.c.Network != nil:
		s.warn(err.Error() + ": the network is that of the checkpoint")
	case err != nil:
		s.warn(err.Error() + ": the vm reaches nothing, as the checkpoint does not say what it may; 'noid net' changes that")
	}
	if lost && s.c.Network != nil {
		c = *s.c.Network
		if c.Secrets != nil { // they may have been revoked since
			s.notice(fmt.Sprintf("vm %q has none of its secrets any more; 'noid secret grant' gives them again", s.c.VM))
			c.Secrets = nil
		}
		if c.Sockets != nil { // what is at their paths now may be another's
			s.notice(fmt.Sprintf("vm %q has none of its sockets any more; 'noid port add' gives them again", s.c.VM))
			c.Sockets = nil
		}
	}
	if runs {
		release, err = network.Claim(ctx, c.Ports)
	} else {
		release, err = awaitPorts(ctx, c)
	}
	return &c, release, err
}

// portsWait is how long ports are waited for that the helper of a VM had which has just ended.
const portsWait = time.Second

// reserved is the network of the VM, or nil, with its ports reserved until release. While they are another's it is
// errs.ErrBusy.
func (s *session) reserved(ctx context.Context) (net *network.Config, release func(), err error) {
	if !s.vm.Machine.Net {
		return nil, func() {}, nil
	}
	c, err := network.Load(s.dir)
	if err != nil {
		return nil, nil, err
	}
	release, err = awaitPorts(ctx, c)
	return &c, release, err
}

// awaitPorts refuses to start a VM with c while its ports are another's: errs.ErrBusy. They are reserved until release.
func awaitPorts(ctx context.Context, c network.Config) (release func(), err error) {
	if err := knowsProxy(c); err != nil {
		return nil, err
	}
	var groups [][]network.Port
	for _, p := range c.Ports {
		groups = append(groups, []network.Port{p})
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		_, release, err := network.Reserve(ctx, groups)
		if err == nil {
			if err = network.CheckFree(c.Sockets); err != nil {
				release()
			}
		}
		if err == nil || ctx.Err() != nil || time.Since(began) > portsWait {
			return release, err
		}
	}
}

// awaitListening returns when the network helper of the VM, which has just started, listens on its ports: until then
// they must be reserved. It warns of those that another has taken all the same.
func (s *session) awaitListening(ctx context.Context, c *network.Config) {
	if c == nil || len(c.Ports) == 0 || len(s.HelperCommand) == 0 {
		return
	}
	if _, err := s.reload(ctx, c.Ports...); err != nil && ctx.Err() == nil {
		s.warn(fmt.Sprintf("ports of vm %q: %v", s.vm.Name, err))
	}
}
