package server

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"noid/internal/network/policy"
)

// addrsAge is how old what is known of this host's addresses may be when the guest opens a flow. A change is told sooner.
const addrsAge = 2 * time.Second

// hostAddrs has this host's addresses looked up when they are needed: an idle guest costs nothing.
type hostAddrs struct {
	mu   sync.Mutex
	read time.Time
}

// forget has the next refresh look again.
func (h *hostAddrs) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.read = time.Time{}
}

// refresh tells p this host's addresses unless it was told a moment ago.
func (h *hostAddrs) refresh(p *policy.Policy) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.read) < addrsAge {
		return nil
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	var addrs []netip.Addr
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				addrs = append(addrs, addr.Unmap())
				if ones, bits := n.Mask.Size(); bits == 128 { // where the host forwards, the network's first address is its own too
					addrs = append(addrs, netip.PrefixFrom(addr, ones).Masked().Addr())
				}
			}
		}
	}
	p.SetHost(addrs)
	h.read = time.Now()
	return nil
}

// Allow is that of the policy, with this host's addresses of now. Without them nothing is allowed.
func (p *hosted) Allow(proto string, to netip.AddrPort) error {
	if err := p.host.refresh(p.Policy); err != nil {
		return err
	}
	if err := p.carried(proto, to); err != nil {
		return err
	}
	return p.Policy.Allow(proto, to)
}

// Keep is Allow for a flow that there is already.
func (p *hosted) Keep(proto string, to netip.AddrPort) error {
	if err := p.carried(proto, to); err != nil {
		return err
	}
	return p.Policy.Keep(proto, to)
}
