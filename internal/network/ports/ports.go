// Package ports listens on ports of this host that lead to ports of a guest.
package ports

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network"
	"noid/internal/network/control"
)

// Guest takes what comes to a port to the guest.
type Guest interface {
	// Forward serves a connection until its end, and closes it.
	Forward(host *net.TCPConn, guest uint16)
	// ForwardUDP takes a datagram to the guest, and answers back. It does not keep data.
	ForwardUDP(to *net.UDPConn, from netip.AddrPort, guest uint16, data []byte)
	// CloseForward is told that nothing comes to a port any more.
	CloseForward(to *net.UDPConn)
}

// Ports are the ports of one guest.
type Ports struct {
	guest Guest

	mu     sync.Mutex
	open   []*listener
	failed []control.Port // those of the configuration that nothing listens on
	again  *time.Timer    // tries these again, while there are any
}

// retryEvery is between two tries to listen on a port that is another's.
const retryEvery = 500 * time.Millisecond

// New returns none yet.
func New(g Guest) *Ports { return &Ports{guest: g} }

// listener is a port that is listened on.
type listener struct {
	network.Port
	temporary bool
	close     func()
}

// Set listens on the ports of a configuration, and no longer on those that are not in it. It returns all of them, with
// what is wrong with each: these are tried again until they are listened on. Connections that there are stay.
func (p *Ports) Set(wanted []network.Port) []control.Port {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = slices.DeleteFunc(p.open, func(l *listener) bool {
		gone := !l.temporary && !slices.Contains(wanted, l.Port)
		if gone {
			l.close()
		}
		return gone
	})
	p.failed = nil
	for _, w := range wanted {
		if !slices.ContainsFunc(p.open, func(l *listener) bool { return l.Port == w && !l.temporary }) {
			p.failed = append(p.failed, control.Port{Port: w})
		}
	}
	p.try()
	return p.list(false)
}

// try listens on what could not be listened on so far, now and until it can. The caller has p.mu.
func (p *Ports) try() {
	failed := p.failed
	p.failed = nil
	for _, f := range failed {
		if l, err := p.listen(f.Port); err != nil {
			p.failed = append(p.failed, control.Port{Port: f.Port, Problem: problem(err)})
		} else {
			p.open = append(p.open, l)
		}
	}
	if p.again != nil {
		p.again.Stop()
	}
	if len(p.failed) > 0 {
		p.again = time.AfterFunc(retryEvery, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.try()
		})
	}
}

// Add listens on ports until end is called. It returns them as they are, with a port where there was 0, and what is
// wrong with each.
func (p *Ports) Add(wanted []network.Port) (all []control.Port, end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var added []*listener
	for _, w := range wanted {
		l, err := p.listen(w)
		if err != nil {
			all = append(all, control.Port{Port: w, Problem: problem(err)})
			continue
		}
		l.temporary = true
		added = append(added, l)
		all = append(all, control.Port{Port: l.Port})
	}
	p.open = append(p.open, added...)
	return all, func() { p.remove(added) }
}

func (p *Ports) remove(gone []*listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range gone {
		l.close()
	}
	p.open = slices.DeleteFunc(p.open, func(l *listener) bool { return slices.Contains(gone, l) })
}

// List returns all ports, and what is wrong with each.
func (p *Ports) List() []control.Port {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list(true)
}

func (p *Ports) list(temporary bool) []control.Port {
	all := slices.Clone(p.failed)
	for _, l := range p.open {
		if temporary || !l.temporary {
			all = append(all, control.Port{Port: l.Port})
		}
	}
	return all
}

// problem is an error in a few words, without the address that the port has anyway.
func problem(err error) string {
	if errno := unix.Errno(0); errors.As(err, &errno) {
		err = errno
	}
	return err.Error()
}

// listen starts to serve a port.
func (p *Ports) listen(w network.Port) (*listener, error) {
	version := "6"
	if w.Host.Addr().Is4() {
		version = "4"
	}
	if w.Proto == "udp" {
		c, err := net.ListenUDP("udp"+version, net.UDPAddrFromAddrPort(w.Host))
		if err != nil {
			return nil, err
		}
		w.Host = netip.AddrPortFrom(w.Host.Addr(), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
		go p.datagrams(c, w.Guest)
		return &listener{Port: w, close: func() { c.Close(); p.guest.CloseForward(c) }}, nil
	}
	l, err := net.ListenTCP("tcp"+version, net.TCPAddrFromAddrPort(w.Host))
	if err != nil {
		return nil, err
	}
	w.Host = netip.AddrPortFrom(w.Host.Addr(), l.Addr().(*net.TCPAddr).AddrPort().Port())
	go p.connections(l, w.Guest)
	return &listener{Port: w, close: func() { l.Close() }}, nil
}

// busyWait is a pause when this process has no descriptor left.
const busyWait = 20 * time.Millisecond

func (p *Ports) connections(l *net.TCPListener, guest uint16) {
	for {
		c, err := l.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(busyWait)
		default:
			go p.guest.Forward(c, guest)
		}
	}
}

func (p *Ports) datagrams(c *net.UDPConn, guest uint16) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err == nil: // an error is that nobody took an answer
			p.guest.ForwardUDP(c, from, guest, buf[:n])
		}
	}
}
