package intercept

import (
	"context"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"noid/internal/network/control"
	"noid/internal/network/grant"
)

// tracked are the connections of an Interceptor: the guest's that it serves, and its own to hosts.
type tracked struct {
	mu      sync.Mutex // also held to replace the grants
	served  map[*peeked]bool
	dialled map[*dialled]bool
}

// dialled is a connection to a host. It is tracked until it is closed.
type dialled struct {
	net.Conn
	i         *Interceptor
	to        netip.AddrPort
	sent, got atomic.Uint64
}

func (d *dialled) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	d.got.Add(uint64(n))
	return n, err
}

func (d *dialled) Write(b []byte) (int, error) {
	n, err := d.Conn.Write(b)
	d.sent.Add(uint64(n))
	return n, err
}

func (d *dialled) Close() error {
	d.i.mu.Lock()
	delete(d.i.dialled, d)
	d.i.mu.Unlock()
	return d.Conn.Close()
}

// dial connects to a host, and tracks the connection.
func (i *Interceptor) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := i.o.Dial(ctx, network, address)
	if err != nil {
		return nil, ownError{err}
	}
	d := &dialled{Conn: conn, i: i}
	if to, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		d.to = netip.AddrPortFrom(to.AddrPort().Addr().Unmap(), to.AddrPort().Port())
	}
	i.mu.Lock()
	i.dialled[d] = true
	i.mu.Unlock()
	if err := i.keep(d); err != nil { // the policy may have changed since it was dialled
		d.Close()
		return nil, ownError{err}
	}
	return d, nil
}

func (i *Interceptor) keep(d *dialled) error {
	if i.o.Keep == nil {
		return nil
	}
	return i.o.Keep(d.to)
}

func (i *Interceptor) connections() (list []*dialled) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for d := range i.dialled {
		list = append(list, d)
	}
	return list
}

// Recheck cuts the connections to hosts that Options.Keep refuses now, and returns their number.
func (i *Interceptor) Recheck() (cut int) {
	for _, d := range i.connections() {
		if i.keep(d) != nil {
			d.Close()
			cut++
		}
	}
	return cut
}

// Flows are the connections to hosts as they are now. None is of one connection of the guest's: they have no Guest.
func (i *Interceptor) Flows() (list []control.Flow) {
	for _, d := range i.connections() {
		list = append(list, control.Flow{Proto: "tcp", Remote: d.to, Sent: d.sent.Load(), Got: d.got.Load()})
	}
	return list
}

// serve tracks p, which the guest has opened, if it is for a host that has a secret, and returns the grants of now.
func (i *Interceptor) serve(p *peeked) (t *table, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	t = i.grants.Load()
	if ok = p.name != "" && len(t.of(p.name, p.port)) > 0; ok {
		i.served[p] = true
	}
	return t, ok
}

func (i *Interceptor) forget(p *peeked) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.served, p)
}

// replace has t hold, and returns the guest's connections that rely on a grant which is not in it any more.
func (i *Interceptor) replace(t *table) (gone []*peeked) {
	i.mu.Lock()
	defer i.mu.Unlock()
	old := i.grants.Swap(t)
	for p := range i.served {
		if lost(old.of(p.name, p.port), t.of(p.name, p.port)) {
			gone = append(gone, p)
		}
	}
	return gone
}

// lost reports whether one of old is not in now but for its value.
func lost(old, now []grant.Grant) bool {
	return slices.ContainsFunc(old, func(o grant.Grant) bool {
		return !slices.ContainsFunc(now, func(n grant.Grant) bool {
			n.Value = o.Value
			return reflect.DeepEqual(o, n)
		})
	})
}
