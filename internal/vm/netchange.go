package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"noid/internal/console"
	"noid/internal/errs"
	"noid/internal/helper"
	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/network/policy"
	"noid/internal/storage"
	"noid/internal/vmm"
)

const (
	// networkWait is how long a command waits for a network helper that starts, or is started again.
	networkWait = 5 * time.Second
	// lookWait is how long one that only looks waits.
	lookWait = 500 * time.Millisecond
	// lookAgain is between two looks for a log that is not there yet.
	lookAgain = 50 * time.Millisecond
)

// control returns a client of the VM's network helper.
func (s *session) control() control.Client {
	return control.Client{VMM: s.vm.Process.PID, Dial: func(ctx context.Context) (net.Conn, error) { return vmm.Dial(ctx, s.dir, network.ControlSocket) }}
}

// openNet is open for a VM that has a network, with its configuration.
func (m *Manager) openNet(ctx context.Context, name, verb string) (*session, network.Config, error) {
	m.beginChange(ctx, verb)
	s, err := m.open(ctx, name, verb)
	if err != nil {
		return nil, network.Config{}, err
	}
	c, err := s.loadNet()
	if err != nil {
		s.close()
	}
	return s, c, err
}

// loadNet reads the VM's network. For a VM without one it is errs.ErrState.
func (s *session) loadNet() (network.Config, error) {
	if !s.vm.Machine.Net {
		return network.Config{}, errs.New(errs.ErrState, "%s: vm %q has no network", s.verb, s.vm.Name).Hint("a vm keeps what it was made with: 'noid create --net default' makes one with a network")
	}
	return network.Load(s.dir)
}

// reload has the VM's network helper, if it runs, go by the configuration as it is now. It waits for ports that the
// helper of a replaced VM may still have. One of ports that the helper cannot listen on is errs.ErrBusy.
func (s *session) reload(ctx context.Context, ports ...network.Port) (control.Answer, error) {
	var a control.Answer
	if !s.vm.Process.Alive() {
		return a, nil
	}
	if !helper.Present(s.dir) {
		s.startHelper(s.vm.Process)
	}
	ctx, cancel := context.WithTimeout(ctx, networkWait)
	defer cancel()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		var err error
		if a, err = s.control().Ask(ctx, control.Request{Op: control.Reload}); err != nil {
			return a, errs.WithHint(err, "what was changed holds when it does; "+network.ErrorsFile+" in the vm's directory says why it does not run")
		}
		problems := portProblems(a.Ports, ports)
		if problems == nil || ctx.Err() != nil || time.Since(began) > portsWait {
			return a, problems
		}
	}
}

// done is err, which says that there is nothing to change. The VM's network helper is told once more: whoever has made
// the change may have been killed before it was told.
func (s *session) done(ctx context.Context, err error) error {
	s.reload(ctx)
	return err
}

// portProblems says which of wanted the helper cannot listen on.
func portProblems(ports []control.Port, wanted []network.Port) error {
	var problems []error
	for _, p := range ports {
		if p.Problem != "" && slices.ContainsFunc(wanted, p.Port.Same) {
			problems = append(problems, errs.New(errs.ErrBusy, "port %s: %s", p.Port, p.Problem))
		}
	}
	return errs.Join(problems...)
}

// RulesChange is what a change of rules has done.
type RulesChange struct {
	network.Config      // as it is now
	Cut            int  // flows that are no longer allowed
	Closed         bool // the VM reaches nothing any more but what its rules allow
	Opened         bool // it is no longer so: it reaches all that its mode allows
}

// SetRules adds rules to the network of name and removes others, at once. A rule to remove that the VM does not have is
// errs.ErrNotFound.
func (m *Manager) SetRules(ctx context.Context, name string, allow, deny, remove []string) (done RulesChange, err error) {
	s, c, err := m.openNet(ctx, name, "net")
	if err != nil {
		return done, err
	}
	defer s.close()
	before := closed(c)
	for _, text := range remove {
		r, err := policy.ParseRule(text)
		if err != nil {
			return done, err
		}
		had := len(c.Allow) + len(c.Deny)
		same := func(rule string) bool { return rule == r.String() }
		if c.Allow, c.Deny = slices.DeleteFunc(c.Allow, same), slices.DeleteFunc(c.Deny, same); len(c.Allow)+len(c.Deny) == had {
			return done, s.done(ctx, errs.New(errs.ErrNotFound, "vm %q has no rule %s", name, r).Hint("'noid net ls "+name+"' lists its rules"))
		}
	}
	if c.Mode == network.None && len(allow) > 0 {
		return done, errs.New(errs.ErrState, "vm %q was made with --net none: no rule allows it more than other vms", name).Hint("rules to deny hold for those")
	}
	if err := s.addRules(&c, allow, deny); err != nil {
		return done, err
	}
	if _, err := policy.Parse(c); err != nil {
		return done, err
	}
	if err := c.Save(s.dir); err != nil {
		return done, err
	}
	a, err := s.reload(ctx)
	return RulesChange{c, a.Cut, closed(c) && !before, before && !closed(c)}, s.errNet(err)
}

// closed reports whether a VM reaches nothing but what its rules allow.
func closed(c network.Config) bool { return len(c.Allow) > 0 && !slices.Contains(c.Allow, "*") }

func (s *session) errNet(err error) error {
	if err != nil {
		err = fmt.Errorf("vm %q: %w", s.vm.Name, err)
	}
	return err
}

// AddPorts gives the VM name the ports of groups, at once, and returns them with a free one in place of each 0. Of one
// that is taken, errs.ErrBusy, and one that the VM has, errs.ErrExists, none is added.
func (m *Manager) AddPorts(ctx context.Context, name string, groups [][]network.Port) ([]network.Port, error) {
	s, c, err := m.openNet(ctx, name, "port")
	if err != nil {
		return nil, err
	}
	defer s.close()
	for _, p := range slices.Concat(groups...) {
		if slices.ContainsFunc(c.Ports, p.Same) {
			return nil, s.done(ctx, errs.New(errs.ErrExists, "vm %q has port %s/%s already", name, p.Host, p.Proto).Hint("'noid port ls "+name+"' lists its ports"))
		}
	}
	added, release, err := network.Reserve(ctx, groups)
	if err != nil {
		return nil, err
	}
	defer release()
	before := c
	c.Ports = slices.Concat(c.Ports, added)
	if err := c.Save(s.dir); err != nil {
		return nil, err
	}
	if _, err = s.reload(ctx, added...); errors.Is(err, errs.ErrBusy) { // another was quicker
		err = errs.Join(err, before.Save(s.dir))
		s.reload(ctx)
		added = nil
	}
	return added, s.errNet(err)
}

// RemovePorts takes ports from the VM name, at once, and returns them: those that are one of groups, in which port 0
// stands for any, here or in the guest, no address here for all, and no protocol for both. Where a group fits none it is errs.ErrNotFound, and none is removed.
func (m *Manager) RemovePorts(ctx context.Context, name string, groups [][]network.Port) (removed []network.Port, err error) {
	s, c, err := m.openNet(ctx, name, "port")
	if err != nil {
		return nil, err
	}
	defer s.close()
	for _, group := range groups {
		fits := func(p network.Port) bool {
			return slices.ContainsFunc(group, func(g network.Port) bool {
				return g == p || !g.Host.IsValid() && g.Proto == p.Proto && g.Guest == p.Guest || g.Guest == 0 && g.Host == p.Host && (g.Proto == "" || g.Proto == p.Proto) || g.Host.Port() == 0 && g.Host.Addr() == p.Host.Addr() && g.Proto == p.Proto && g.Guest == p.Guest
			})
		}
		before := len(removed)
		for _, p := range c.Ports {
			if fits(p) {
				removed = append(removed, p)
			}
		}
		if len(removed) == before {
			err := errs.New(errs.ErrNotFound, "vm %q has no port %s", name, group[0]).Hint("'noid port ls " + name + "' lists its ports")
			if g := group[0]; !g.Host.IsValid() {
				err = errs.New(errs.ErrNotFound, "vm %q has no port that leads to its port %d/%s", name, g.Guest, g.Proto).
					Hint(fmt.Sprintf("a port of this host is written 127.0.0.1:%d; 'noid port ls %s' lists its ports", g.Guest, name))
			}
			return nil, s.done(ctx, err)
		}
		c.Ports = slices.DeleteFunc(c.Ports, fits)
	}
	if err := c.Save(s.dir); err != nil {
		return nil, err
	}
	_, err = s.reload(ctx)
	return removed, s.errNet(err)
}

// keepFlows writes the flows that the guest has, for what is restored of dir: its helper has the guest learn that they
// are gone. Without that the guest learns it when it next uses one. It is asked for when the guest runs again: those
// that are new since then do no harm. Nor do names that it has looked up since.
func (s *session) keepFlows(ctx context.Context, dir string) {
	if !s.vm.Machine.Net {
		return
	}
	network.SaveNames(dir, network.LoadNames(s.dir))
	if !exists(s.file(network.ControlSocket)) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	a, err := s.control().Ask(ctx, control.Request{Op: control.Flows})
	if err != nil || len(a.Flows) == 0 {
		return
	}
	if data, err := json.Marshal(a.Flows); err == nil {
		storage.WriteFile(filepath.Join(dir, network.FlowsFile), data, 0o600)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Forward has ports of this host lead into the VM name until ctx ends, or its network helper does. ready is called when
// they do, with a free port in place of each 0.
func (m *Manager) Forward(ctx context.Context, name string, groups [][]network.Port, ready func([]network.Port)) error {
	s, err := m.running(ctx, name, "forward")
	if err != nil {
		return err
	}
	if _, err := s.loadNet(); err != nil {
		return err
	}
	ports, release, err := network.Reserve(ctx, groups)
	if err != nil {
		return err
	}
	defer release()
	wait, cancel := context.WithTimeout(ctx, networkWait)
	defer cancel()
	a, conn, err := s.control().Hold(wait, control.Request{Op: control.Forward, Ports: ports})
	if err != nil {
		return s.errNet(err)
	}
	defer conn.Close()
	if err := portProblems(a.Ports, ports); err != nil {
		return s.errNet(err)
	}
	release()
	ready(ports)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	io.Copy(io.Discard, conn)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errs.New(errs.ErrState, "forward: the network helper of vm %q has ended", name).Hint("'noid inspect " + name + "' shows whether the vm runs")
}

// Network is what is known of a VM's network.
type Network struct {
	network.Config
	Pair   bool           // its device is one of a pair of sockets, and no tap
	Helper *control.State // nil where its helper does not answer
	Ports  []control.Port // with what keeps the helper from them
	// Sockets are the configuration's, likewise.
	Sockets []control.Socket
}

// NetworkOf returns the network of name. It takes no lock and asks the helper for half a second at most. Of a VM without
// one the mode is none.
func (m *Manager) NetworkOf(ctx context.Context, name string) (Network, error) {
	s, err := m.look(name, "net")
	if err != nil {
		return Network{}, err
	}
	return s.network(ctx)
}

func (s *session) network(ctx context.Context) (n Network, err error) {
	n.Mode = network.None
	if !s.vm.Machine.Net {
		return n, nil
	}
	if n.Config, err = network.Load(s.dir); err != nil {
		return n, err
	}
	for _, k := range n.Config.Sockets {
		n.Sockets = append(n.Sockets, control.Socket{Socket: k})
	}
	n.Pair = s.vm.Machine.NetPair
	for _, p := range n.Config.Ports {
		n.Ports = append(n.Ports, control.Port{Port: p})
	}
	if !exists(s.file(network.ControlSocket)) || !s.vm.Process.Alive() {
		return n, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	a, err := s.control().Ask(ctx, control.Request{Op: control.Status})
	if err == nil && a.Status != nil {
		n.Helper = a.Status
		if a.Ports != nil {
			n.Ports = a.Ports
		}
		for _, bad := range a.Sockets {
			if i := slices.IndexFunc(n.Sockets, func(k control.Socket) bool { return k.Socket == bad.Socket }); i >= 0 {
				n.Sockets[i] = bad
			}
		}
	}
	return n, nil
}

// NetLog copies the log of name's network helper, lines of JSON, to w: not fit for a terminal before it went through
// package untrusted. A log that is not there is empty; to follow it is to wait for it. It goes on over a restore in place.
func (m *Manager) NetLog(ctx context.Context, name string, o LogOptions, w io.Writer) error {
	s, err := m.look(name, "net")
	if err != nil {
		return err
	}
	if _, err := s.loadNet(); err != nil {
		return err
	}
	alive := s.alive()
	for {
		err = console.CopyLog(ctx, w, network.HelperFile(s.dir, network.LogFile), o.Last, o.Follow, alive)
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if !o.Follow || !alive() || vmm.Sleep(ctx, lookAgain) != nil {
			return ctx.Err()
		}
	}
}
