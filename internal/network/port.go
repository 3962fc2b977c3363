package network

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

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

// String returns the port as ParsePort reads it.
func (p Port) String() string {
	return p.Host.String() + ":" + strconv.Itoa(int(p.Guest)) + "/" + p.Proto
}

// At is p at another port of the same address of this host.
func (p Port) At(port uint16) Port {
	p.Host = netip.AddrPortFrom(p.Host.Addr(), port)
	return p
}

// Same reports whether p and o listen at the same place.
func (p Port) Same(o Port) bool { return p.Proto == o.Proto && p.Host == o.Host }

// maxPicks bounds the search for a port that is free on both loopback addresses.
const maxPicks = 100

// Reserve returns the ports of all groups, each one of ParsePort's, with a free port in place of each 0. A port that is
// taken, by another group too, is errs.ErrBusy. Of the two loopback addresses, IPv6's is left out where this host has
// none. Nothing listens when it returns.
func Reserve(groups [][]Port) (all []Port, err error) {
	for _, group := range groups {
		var got []Port
		for try := 0; ; try++ {
			var end func()
			if got, end, err = listen(group); err == nil {
				defer end()
				break
			} else if try == maxPicks || group[0].Host.Port() != 0 {
				return nil, err
			}
		}
		all = append(all, got...)
	}
	return all, nil
}

// listen binds all of group until end is called. Where the port is 0 the first one chooses for all.
func listen(group []Port) (got []Port, end func(), err error) {
	var ends []func() error
	end = func() {
		for _, e := range ends {
			e()
		}
	}
	for _, p := range group {
		if p.Host.Port() == 0 && len(got) > 0 {
			p = p.At(got[0].Host.Port())
		}
		e, port, err := bind(p)
		if (errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT)) && len(got) > 0 { // a host without IPv6
			continue
		} else if err != nil {
			end()
			return nil, nil, bindError(p, err)
		}
		ends = append(ends, e)
		got = append(got, p.At(port))
	}
	return got, end, nil
}

func bindError(p Port, err error) error {
	if errno := unix.Errno(0); errors.As(err, &errno) {
		err = errno
	}
	switch err {
	case unix.EADDRINUSE:
		return errs.New(errs.ErrBusy, "port %s/%s is taken", p.Host, p.Proto).Hint("choose another, or 0 for any that is free; 'ss -lntup' shows who has it")
	case unix.EADDRNOTAVAIL:
		return errs.New(errs.ErrHost, "%s is no address of this host", p.Host.Addr()).Hint("'ip address' shows what it has; without an address the port is on loopback")
	case unix.EACCES, unix.EPERM:
		return errs.New(errs.ErrHost, "port %s/%s: %w", p.Host, p.Proto, err).Hint("ports below 1024 are root's: choose another")
	}
	return errs.New(errs.ErrHost, "port %s/%s: %w", p.Host, p.Proto, err)
}

// bind listens on p and returns what ends that, and the port.
func bind(p Port) (end func() error, port uint16, err error) {
	version := "6"
	if p.Host.Addr().Is4() {
		version = "4"
	}
	if p.Proto == "udp" {
		c, err := net.ListenUDP("udp"+version, net.UDPAddrFromAddrPort(p.Host))
		if err != nil {
			return nil, 0, err
		}
		return c.Close, c.LocalAddr().(*net.UDPAddr).AddrPort().Port(), nil
	}
	l, err := net.ListenTCP("tcp"+version, net.TCPAddrFromAddrPort(p.Host))
	if err != nil {
		return nil, 0, err
	}
	return l.Close, l.Addr().(*net.TCPAddr).AddrPort().Port(), nil
}
