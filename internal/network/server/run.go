// Package server is the network helper of a VM: a process of its own, which ends with the VMM. It has the guest's wire,
// and does what the VM's configuration says.
package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/network/dhcp"
	"noid/internal/network/intercept"
	"noid/internal/network/lab"
	"noid/internal/network/policy"
	"noid/internal/network/ports"
	"noid/internal/network/resolver"
	"noid/internal/network/space"
	"noid/internal/network/stack"
	"noid/internal/proc"
	"noid/internal/vmm"
)

const (
	// linkFD is the descriptor of the guest's wire, lockFD that of the lock which tells that a helper is at work, and by
	// confFD it has this host's resolv.conf.
	linkFD, lockFD, confFD = 3, 4, 5
	// memoryLimit, in bytes, has the collector work harder before flows are cut.
	memoryLimit = 96 << 20
)

// resolvConf lists this host's resolvers. What else is in private a helper may not read.
var resolvConf, private = network.ResolvConf, "/etc"

// Server is the network helper of one VM.
type Server struct {
	ctx     context.Context // serve's
	began   time.Time
	vmm     proc.Process
	stack   *stack.Stack
	https   *intercept.Interceptor
	ports   *ports.Ports
	sockets *sockets
	held    held
	peers   *peers // nil: noid has told of no networks between VMs
	log     *logFile

	mu     sync.Mutex // one change at a time
	policy atomic.Pointer[hosted]
	// secrets are those that noid gave last.
	secrets *secrets
}

// Run is the whole work of the helper of the VM in the current directory. args name its VMM, as proc.Process.Args does.
// It returns after the VMM's end.
func Run(ctx context.Context, args []string) error {
	p, err := proc.Parse(args)
	if err != nil {
		return err
	}
	if !p.Alive() { // also: what tells it is read before this process is confined
		return nil
	}
	unix.CloseOnExec(lockFD)
	ctx, end := context.WithCancel(ctx)
	defer end()
	go func() {
		p.Wait(ctx)
		end()
	}()
	debug.SetMemoryLimit(memoryLimit)
	s, err := start(p, linkFD)
	if err != nil {
		return err
	}
	return s.serve(ctx)
}

// start makes a helper that has the guest's wire on a descriptor. Nothing of the guest has been looked at yet.
func start(p proc.Process, fd int) (*Server, error) {
	s := &Server{began: time.Now(), vmm: p, held: newHeld(), log: openLog(filepath.Join(network.HelperDir, network.LogFile))}
	if err := network.MakeHelperDir("."); err != nil {
		return nil, err
	}
	now, err := load(nil)
	if err != nil {
		return nil, err
	}
	s.policy.Store(now)
	if s.peers, err = newPeers(p.Args(), s.policy.Load); err != nil {
		return nil, err
	}
	names := &resolver.Resolver{
		Policy:  func() resolver.Policy { return s.policy.Load() },
		Refused: func(name string, why error) { s.log.refused("dns", name, why) },
		Plain:   func(name string) bool { return s.https.Plain(name) },
		Conf:    resolver.Conf{Path: resolvConf, Read: control.NewConf(confFD).Read},
	}
	s.https = intercept.New(intercept.Options{
		Dial: intercept.Dialer(names.Answer, func(proto string, to netip.AddrPort) error { return s.policy.Load().Allow(proto, to) }, s.connect),
		Keep: func(to netip.AddrPort) error { return s.policy.Load().Keep("tcp", to) },
		Log:  s.log.used, Awaits: len(now.config.Secrets) > 0,
	})
	s.stack, err = stack.New(stack.Config{
		FD: fd, Bare: space.IsPair(fd), Policy: inside{now}, Resolve: s.peers.answer(names), Peers: s.peers.orNone(), Lease: dhcp.Answer, Lease6: dhcp.Answer6, Limits: limits(), Interceptor: s.https, Dial: s.dial,
		Refused: func(proto string, to netip.AddrPort, why error) { s.log.refused(proto, to.String(), why) },
	})
	if err != nil {
		return nil, err
	}
	s.sockets = newSockets(s)
	s.ports = ports.New(s.stack)
	s.ports.Set(now.config.Ports)
	return s, nil
}

// limits are the stack's, less where this process may have few descriptors.
func limits() stack.Limits {
	var files unix.Rlimit
	l := stack.Limits{}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil && files.Cur < 4096 {
		l.TCP, l.UDP, l.Queries = max(int(files.Cur)/2, 16), max(int(files.Cur)/8, 16), max(int(files.Cur)/16, 8)
	}
	return l
}

// serve works until ctx ends.
func (s *Server) serve(ctx context.Context) error {
	s.ctx = ctx
	listener, err := vmm.Listen(network.ControlSocket)
	if err != nil {
		return err
	}
	if err := s.confine(); err != nil {
		return err
	}
	s.reset()
	if watchAddrs(ctx, s.readdress) == nil { // else, flows that there are stay
		s.readdress() // what has changed since the start
	}
	if s.peers != nil {
		s.peers.apply(ctx)
		go s.peers.serve(s.stack.Receive)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.stack.Run() }()
	go s.control(ctx, listener)
	go s.sockets.keep(ctx)
	select {
	case err = <-ended:
		if err == nil {
			err = errors.New("the guest's wire is closed")
		}
	case <-ctx.Done():
	}
	s.ports.Set(nil)
	s.https.Close()
	if s.peers != nil {
		s.peers.withdraw(context.WithoutCancel(ctx))
	}
	listener.Close()
	return err
}

// reload does what the configuration says now.
func (s *Server) reload() (control.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := load(s.policy.Load())
	if err != nil {
		return control.Answer{}, err
	}
	s.policy.Store(now)
	cut := s.stack.SetPolicy(inside{now}) + s.https.Recheck()
	s.grant()
	if s.peers != nil {
		s.peers.apply(s.ctx)
	}
	return control.Answer{Cut: cut, Ports: s.ports.Set(now.config.Ports), Sockets: s.sockets.reload(now.config)}, nil
}

// hosted is a policy that knows this host's addresses of now, keeps what it learns, and has the keys of the VM's networks.
type hosted struct {
	*policy.Policy
	config network.Config
	host   *hostAddrs
	names  *namesFile
	keys   map[string]lab.Key
}

// load reads the configuration. What the policy before has learned stays known, also that of a helper before.
func load(old *hosted) (*hosted, error) {
	c, err := network.Load(".")
	if err != nil {
		return nil, err
	}
	p, err := policy.Parse(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", network.ConfigFile, err)
	}
	keys := memberships(&c)
	now := &hosted{Policy: p, config: c, host: &hostAddrs{}, names: &namesFile{}, keys: keys}
	if old != nil {
		p.Inherit(old.Policy)
		now.host, now.names = old.host, old.names
	} else {
		p.Recall(network.LoadNames("."))
	}
	now.names.replace(p.Names()) // other rules may be about other names
	return now, now.host.refresh(p)
}
