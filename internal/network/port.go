package network

import (
	"net/netip"
	"strconv"
	"strings"

	"noid/internal/errs"
)

const portHint = "write HOST:GUEST, ADDRESS:HOST:GUEST or GUEST alone, perhaps with /udp: 127.0.0.1:8080:80/tcp"

var loopback = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

// ParsePort reads a port as docker writes it: [[ADDRESS:]HOST:]GUEST[/tcp|/udp]. HOST empty, 0 or left out stands for
// any free port. Without an address there are two of it, on both loopback addresses. What is none is errs.ErrUsage.
func ParsePort(text string) ([]Port, error) {
	wrong := func(why string) error {
		return errs.New(errs.ErrUsage, "%.80q is no port: %s", text, why).Hint(portHint)
	}
	rest, proto, _ := strings.Cut(strings.ToLower(text), "/")
	if proto == "" && !strings.Contains(text, "/") {
		proto = "tcp"
	}
	if proto != "tcp" && proto != "udp" {
		return nil, wrong("it is neither tcp nor udp")
	}
	at := strings.LastIndexByte(rest, ':')
	guest, ok := number(rest[at+1:], 1)
	if !ok {
		return nil, wrong("the guest's is not from 1 to 65535")
	}
	addrs, host := loopback, uint16(0)
	if at >= 0 {
		rest, hostText := rest[:at], rest[:at]
		if colon := strings.LastIndexByte(rest, ':'); colon >= 0 {
			hostText = rest[colon+1:]
			inner := rest[:colon]
			bare, bracketed := strings.CutPrefix(inner, "[")
			if bracketed {
				inner, bracketed = strings.CutSuffix(bare, "]")
			}
			a, err := netip.ParseAddr(inner)
			if err != nil || a.Zone() != "" || a.Is6() != bracketed {
				return nil, wrong("before the host's port is no address, those of IPv6 in brackets")
			}
			addrs = []netip.Addr{a.Unmap()}
		}
		if host, ok = number(hostText, 0); !ok && hostText != "" {
			return nil, wrong("the host's is not from 0 to 65535")
		}
	}
	var ports []Port
	for _, a := range addrs {
		ports = append(ports, Port{Proto: proto, Host: netip.AddrPortFrom(a, host), Guest: guest})
	}
	return ports, nil
}

func number(text string, least uint64) (uint16, bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil && n >= least && text[0] != '+'
}

// ParseHost reads ADDRESS:HOST[/tcp|/udp], where a port listens here. The port that it returns leads to no port of the
// guest, and has no protocol if text has none.
func ParseHost(text string) (p Port, ok bool) {
	host, proto, found := strings.Cut(strings.ToLower(text), "/")
	at, err := netip.ParseAddrPort(host)
	return Port{Proto: proto, Host: at}, err == nil && (!found || proto == "tcp" || proto == "udp")
}

// String returns the port as ParsePort reads it, or ParseHost.
func (p Port) String() string {
	if p.Guest == 0 {
		return strings.TrimSuffix(p.Host.String()+"/"+p.Proto, "/")
	}
	return p.Host.String() + ":" + strconv.Itoa(int(p.Guest)) + "/" + p.Proto
}

// At is p at another port of the same address of this host.
func (p Port) At(port uint16) Port {
	p.Host = netip.AddrPortFrom(p.Host.Addr(), port)
	return p
}

// Same reports whether p and o listen at the same place.
func (p Port) Same(o Port) bool { return p.Proto == o.Proto && p.Host == o.Host }
