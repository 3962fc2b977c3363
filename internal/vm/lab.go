package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"noid/internal/errs"
	"noid/internal/network"
	"noid/internal/network/lab"
)

// Lab is a network between VMs, and who is on it.
type Lab struct {
	lab.Network
	Members []Member // sorted by address
}

// Member is a VM on a network.
type Member struct {
	VM   string
	Addr netip.Addr // of IPv4
}

// lockNetworks waits for the right to change networks and who is on them. Who wants a VM's lock too has it before.
func (m *Manager) lockNetworks(ctx context.Context) (unlock func(), err error) {
	if err := m.Home.Make(); err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, networkWait)
	defer cancel()
	unlock, err = lab.Lock(wait, m.Home.NetworksDir())
	if err != nil && wait.Err() != nil && ctx.Err() == nil {
		err = errs.New(errs.ErrBusy, "another noid changes networks").Hint("try again")
	}
	return unlock, err
}

// members returns who is on each network, by the configurations of the VMs, those that are being made or removed
// included. A VM may be there twice.
func (m *Manager) members() (map[string][]Member, error) {
	dirs, err := m.Home.VMDirs()
	if err != nil {
		return nil, err
	}
	all := map[string][]Member{}
	for dir, name := range dirs {
		c, err := network.Load(dir)
		if err != nil {
			continue // its network helper cannot read it either
		}
		for _, n := range c.Networks {
			all[n.Network] = append(all[n.Network], Member{name, n.Addr})
		}
	}
	return all, nil
}

// membersOf are list and the networks called names, where the VM has no addresses yet. One that is not there is
// errs.ErrNotFound.
func (m *Manager) membersOf(list []network.Member, names []string) ([]network.Member, error) {
	for _, name := range names {
		if _, err := lab.Load(m.Home.NetworksDir(), name); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(list, func(n network.Member) bool { return n.Network == name }) {
			list = append(list, network.Member{Network: name})
		}
	}
	return list, nil
}

// join gives the VM, whose network is to be c, its addresses, and writes c to its directory. It keeps those that it has
// and no other VM. What network is gone it says.
func (s *session) join(ctx context.Context, c *network.Config) error {
	unlock, err := s.lockNetworks(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := s.members()
	if err != nil {
		return err
	}
	var joined []network.Member
	for _, n := range c.Networks {
		l, err := lab.Load(s.Home.NetworksDir(), n.Network)
		if errors.Is(err, errs.ErrNotFound) {
			s.warn(fmt.Sprintf("network %q is gone: vm %q is not on it", n.Network, s.vm.Name))
			continue
		} else if err != nil {
			return err
		}
		taken := map[netip.Addr]bool{}
		for _, o := range all[n.Network] {
			taken[o.Addr] = taken[o.Addr] || o.VM != s.vm.Name
		}
		if !l.Has(n.Addr) || taken[n.Addr] {
			n.Addr = l.Free(taken)
		}
		if !n.Addr.IsValid() {
			return errs.New(errs.ErrState, "network %q has no address left for vm %q", n.Network, s.vm.Name).Hint("'noid network inspect " + n.Network + "' lists the vms on it")
		}
		joined = append(joined, n)
	}
	c.Networks = joined
	return c.Save(s.dir)
}

// CreateNetworks makes networks between VMs. One that is there is errs.ErrExists, and none is made.
func (m *Manager) CreateNetworks(ctx context.Context, names []string) error {
	unlock, err := m.lockNetworks(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	lab.Sweep(m.Home.NetworksDir())
	for i, name := range names {
		_, err := m.InspectNetwork(name)
		switch {
		case slices.Contains(names[:i], name):
			return errs.New(errs.ErrUsage, "network %q is named twice", name)
		case err == nil:
			return lab.ErrThere(name)
		case !errors.Is(err, errs.ErrNotFound):
			return err
		}
	}
	for _, name := range names {
		if _, err := lab.Create(m.Home.NetworksDir(), name); err != nil {
			return err
		}
	}
	return nil
}

// RemoveNetworks removes networks. If a VM is on one of them it is errs.ErrBusy, and none is removed.
func (m *Manager) RemoveNetworks(ctx context.Context, names []string) error {
	m.beginChange(ctx, "network")
	unlock, err := m.lockNetworks(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	lab.Sweep(m.Home.NetworksDir())
	var problems []error
	for _, name := range names {
		l, err := m.InspectNetwork(name)
		if err == nil && len(l.Members) > 0 {
			err = errs.New(errs.ErrBusy, "network %q is in use by %s", name, vms(l.Members)).
				Hint("'noid network disconnect " + name + " NAME' takes a vm off it")
		}
		problems = append(problems, err)
	}
	if err := errs.Join(problems...); err != nil {
		return err
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if err := lab.Remove(m.Home.NetworksDir(), name); err != nil {
			return err
		}
	}
	return nil
}

// maxNamed bounds how many VMs or ids a message names.
const maxNamed = 10

func vms(members []Member) string {
	var names []string
	for _, n := range members[:min(len(members), maxNamed)] {
		names = append(names, fmt.Sprintf("%q", n.VM))
	}
	text := strings.Join(names, ", ")
	if more := len(members) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Networks returns all networks between VMs, sorted by name. It takes no lock.
func (m *Manager) Networks() ([]Lab, error) {
	list, err := lab.List(m.Home.NetworksDir())
	if err != nil {
		return nil, err
	}
	all, err := m.members()
	if err != nil {
		return nil, err
	}
	var labs []Lab
	for _, n := range list {
		members := all[n.Name]
		slices.SortFunc(members, func(a, b Member) int { return cmp.Or(a.Addr.Compare(b.Addr), strings.Compare(a.VM, b.VM)) })
		labs = append(labs, Lab{n, slices.Compact(members)})
	}
	return labs, nil
}

// InspectNetwork returns the network name.
func (m *Manager) InspectNetwork(name string) (Lab, error) {
	if _, err := lab.Load(m.Home.NetworksDir(), name); err != nil {
		return Lab{}, err
	}
	all, err := m.Networks()
	for _, l := range all {
		if l.Name == name {
			return l, err
		}
	}
	return Lab{}, cmp.Or(err, error(errs.New(errs.ErrNotFound, "no network %q", name)))
}

// ConnectNetwork puts the VM name on a network, at once, and returns its address there. One that is on it is
// errs.ErrExists.
func (m *Manager) ConnectNetwork(ctx context.Context, to, name string) (netip.Addr, error) {
	s, c, err := m.openNet(ctx, name, "network connect")
	if err != nil {
		return netip.Addr{}, err
	}
	defer s.close()
	if slices.ContainsFunc(c.Networks, func(n network.Member) bool { return n.Network == to }) {
		return netip.Addr{}, s.done(ctx, errs.New(errs.ErrExists, "vm %q is on network %q already", name, to))
	}
	if c.Networks, err = m.membersOf(c.Networks, []string{to}); err != nil {
		return netip.Addr{}, err
	}
	if err := s.join(ctx, &c); err != nil {
		return netip.Addr{}, err
	}
	at := slices.IndexFunc(c.Networks, func(n network.Member) bool { return n.Network == to })
	if at < 0 {
		return netip.Addr{}, errs.New(errs.ErrNotFound, "network %q was removed meanwhile", to)
	}
	_, err = s.reload(ctx)
	return c.Networks[at].Addr, s.errNet(err)
}

// DisconnectNetwork takes the VM name off a network, at once: its flows there are cut. One that is not on it is
// errs.ErrNotFound.
func (m *Manager) DisconnectNetwork(ctx context.Context, from, name string) error {
	s, c, err := m.openNet(ctx, name, "network disconnect")
	if err != nil {
		return err
	}
	defer s.close()
	before := len(c.Networks)
	c.Networks = slices.DeleteFunc(c.Networks, func(n network.Member) bool { return n.Network == from })
	if len(c.Networks) == before {
		return s.done(ctx, errs.New(errs.ErrNotFound, "vm %q is not on network %q", name, from).Hint("'noid net ls "+name+"' lists its networks"))
	}
	if err := c.Save(s.dir); err != nil {
		return err
	}
	_, err = s.reload(ctx)
	return s.errNet(err)
}
