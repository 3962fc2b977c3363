package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network"
	"noid/internal/network/lab"
	"noid/internal/network/resolver"
	"noid/internal/network/stack"
)

const (
	// publishedDir is the name of the directory in which a VM's own directory is once it is one.
	publishedDir = "vms"
	// lookEvery is how often the directory is looked at where nobody tells that it has moved, and how long it is waited
	// for another helper that changes something at a network.
	lookEvery = time.Second
)

// peers are the other VMs on the networks of this one. It is a stack.Peers.
type peers struct {
	dir    string // of all networks
	inbox  *lab.Inbox
	config func() *hosted

	following sync.Once
	again     chan struct{} // asks follow to publish again
	mu        sync.Mutex
	published []network.Member // where this VM is found, as name
	name      string
}

// newPeers makes the inbox. Nil: noid has told this helper of no networks.
func newPeers(vmm []string, config func() *hosted) (*peers, error) {
	dir := os.Getenv(lab.Env)
	if dir == "" {
		return nil, nil
	}
	inbox, err := lab.NewInbox(dir, vmm)
	if err != nil {
		return nil, err
	}
	return &peers{dir: dir, inbox: inbox, config: config, again: make(chan struct{}, 1)}, nil
}

// orNone is p for a stack.
func (p *peers) orNone() stack.Peers {
	if p == nil {
		return nil
	}
	return p
}

// answer is how queries of the guest are answered: those for the other VMs first, others by names.
func (p *peers) answer(names *resolver.Resolver) func(context.Context, []byte, string) []byte {
	if p == nil {
		return names.Answer
	}
	return names.AnswerBeside(p)
}

// Has implements stack.Peers.
func (p *peers) Has(a netip.Addr) bool {
	_, ok := lab.On(p.config().config.Networks, a)
	return ok
}

// Open implements stack.Peers.
func (p *peers) Open(proto lab.Proto, port uint16, to netip.AddrPort, wait time.Duration) (*lab.Conn, error) {
	now := p.config()
	m, ok := lab.On(now.config.Networks, to.Addr())
	if !ok {
		return nil, unix.ENETUNREACH
	}
	from := m.Addr
	if to.Addr().Is6() {
		from = lab.Six(from)
	}
	return p.inbox.Open(m.Network, now.keys[m.Network], lab.Open{Proto: proto, From: netip.AddrPortFrom(from, port), To: to}, wait)
}

// memberships drops from c the networks that are gone, and returns the keys of the others.
func memberships(c *network.Config) map[string]lab.Key {
	keys, dir := map[string]lab.Key{}, os.Getenv(lab.Env)
	c.Networks = slices.DeleteFunc(slices.Clone(c.Networks), func(m network.Member) bool {
		n, err := lab.Load(dir, m.Network)
		keys[m.Network] = n.Key
		return dir == "" || err != nil || !n.Has(m.Addr)
	})
	return keys
}

// inside is what the guest may reach: beside what hosted says, the other VMs on its networks, which --allow has no say
// about.
type inside struct{ *hosted }

func (p inside) Allow(proto string, to netip.AddrPort) error {
	if _, peer := lab.On(p.config.Networks, to.Addr()); peer {
		return p.Policy.Denied(proto, to)
	}
	return p.hosted.Allow(proto, to)
}

func (p inside) Keep(proto string, to netip.AddrPort) error {
	if _, peer := lab.On(p.config.Networks, to.Addr()); peer {
		return p.Policy.Denied(proto, to)
	}
	return p.hosted.Keep(proto, to)
}

// key is the one that opens a flow to this VM.
func (p *peers) key(o lab.Open) (lab.Key, bool) {
	now := p.config()
	m, ok := lab.On(now.config.Networks, o.To.Addr())
	if !ok || lab.Four(o.To.Addr()) != m.Addr {
		return lab.Key{}, false
	}
	key, ok := now.keys[m.Network]
	return key, ok
}

// Find returns the addresses of the VM that a guest calls name, without a dot at its end: VM or VM.NETWORK.
func (p *peers) Find(name string) (addrs []netip.Addr) {
	for _, m := range p.config().config.Networks {
		vm := name
		if dot := len(name) - len(m.Network) - 1; dot > 0 && name[dot:] == "."+m.Network {
			vm = name[:dot]
		} else if slices.Contains([]byte(name), '.') {
			continue
		}
		if a, ok := p.inbox.Find(m.Network, vm); ok {
			addrs = append(addrs, a, lab.Six(a))
		}
	}
	return addrs
}

// publish has the others find this VM under the name that its directory has now, on the networks of its configuration.
// What is being made, or removed, has no name.
func (p *peers) publish(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	name, wanted := ownName(), p.config().config.Networks
	if name == "" {
		wanted = nil
	}
	for _, m := range p.published {
		if !slices.Contains(wanted, m) {
			err = errors.Join(err, p.inbox.Withdraw(ctx, m.Network, m.Addr))
		}
	}
	var done []network.Member
	for _, m := range wanted {
		if p.name == name && slices.Contains(p.published, m) {
			done = append(done, m)
			continue
		}
		problem := p.inbox.Bind()
		if problem == nil {
			problem = p.inbox.Publish(ctx, m.Network, name, m.Addr)
		}
		if problem == nil {
			done = append(done, m)
		} else if !errors.Is(problem, os.ErrNotExist) { // the network has been removed
			err = errors.Join(err, problem)
		}
	}
	p.name, p.published = name, done
	return err
}

// ownName is the VM's name, or "" where its directory is not among those of VMs.
func ownName() string {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err != nil || n < 2 {
		return ""
	}
	dir := string(buf[:n-1])
	if filepath.Base(filepath.Dir(dir)) != publishedDir {
		return ""
	}
	return filepath.Base(dir)
}

// withdraw has nobody find the VM any more.
func (p *peers) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.published {
		p.inbox.Withdraw(ctx, m.Network, m.Addr)
	}
	p.published = nil
	p.inbox.Close()
}

// serve takes the flows that other VMs open, until withdraw.
func (p *peers) serve(take func(lab.Open, *lab.Conn)) {
	for {
		o, c, err := p.inbox.Receive(p.key)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		go take(o, c)
	}
}

// apply is publish after a change of the configuration. From the first network on, the VM is published again whenever
// its directory has another name, until ctx ends: it was made, renamed, put in another one's place, or is being removed.
func (p *peers) apply(ctx context.Context) {
	if len(p.config().config.Networks) > 0 {
		p.following.Do(func() { go p.follow(ctx) })
	}
	if p.publish(ctx) != nil {
		p.poke()
	}
}

func (p *peers) poke() {
	select {
	case p.again <- struct{}{}:
	default:
	}
}

func (p *peers) follow(ctx context.Context) {
	watch, watchErr := watchMoves(".")
	if watchErr == nil {
		defer watch.Close()
		go func() {
			buf := make([]byte, 4096)
			for {
				if _, err := watch.Read(buf); err != nil {
					return
				}
				p.poke()
			}
		}()
	}
	for {
		var later <-chan time.Time
		if err := p.publish(ctx); err != nil || watchErr != nil {
			later = time.After(lookEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.again:
		case <-later:
		}
	}
}

// watchMoves returns what can be read whenever the directory has been renamed.
func watchMoves(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVE_SELF); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "moves"), nil
}
