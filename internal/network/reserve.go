package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

const (
	// maxPicks bounds the search for a port that is free on both loopback addresses.
	maxPicks = 100
	// claimWait is how long a port is waited for that another noid has claimed, and claimEvery between two looks.
	claimWait  = 10 * time.Second
	claimEvery = 20 * time.Millisecond
)

// Reserve returns the ports of all groups, each one of ParsePort's, with a free port in place of each 0. A port that is
// taken, by another group too, is errs.ErrBusy. Of the two loopback addresses, IPv6's is left out where this host has
// none. Nothing listens when it returns, and no other noid on this host reserves one of them until release, which may be
// called again. It waits for one that has, until ctx ends.
func Reserve(ctx context.Context, groups [][]Port) (all []Port, release func(), err error) {
	claimed := claims{}
	defer func() {
		if err != nil {
			claimed.release()
			all, release = nil, func() {}
		}
	}()
	if err := claimed.await(ctx, slices.Concat(groups...)); err != nil {
		return nil, nil, err
	}
	for _, group := range groups {
		var got []Port
		for try := 0; ; try++ {
			var end func()
			if got, end, err = listen(group); err == nil {
				defer end()
				if err = claimed.take(got[0]); err == nil {
					break
				}
			}
			if try == maxPicks || group[0].Host.Port() != 0 {
				return nil, nil, err
			}
		}
		all = append(all, got...)
	}
	return all, claimed.release, nil
}

// Claim is the part of Reserve that keeps other noids from ports, for some that may be in use.
func Claim(ctx context.Context, ports []Port) (release func(), err error) {
	claimed := claims{}
	if err := claimed.await(ctx, slices.Clone(ports)); err != nil {
		claimed.release()
		return func() {}, err
	}
	return claimed.release, nil
}

// claims are the ports that this process alone reserves. A claim is a name in the kernel's table of unix sockets: it
// holds among all who could take the port, whatever their home, and ends with the process.
type claims map[string]*net.UnixConn

// take claims a port, on all addresses: errs.ErrBusy if another has.
func (c claims) take(p Port) error {
	name := fmt.Sprintf("@noid/port/%s/%d", p.Proto, p.Host.Port())
	if c[name] != nil || p.Host.Port() == 0 {
		return nil
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if errors.Is(err, unix.EADDRINUSE) {
		return errs.New(errs.ErrBusy, "port %s/%s: another noid is about to listen on it", p.Host, p.Proto).Hint("choose another, or 0 for any that is free")
	} else if err != nil {
		return errs.New(errs.ErrHost, "port %s/%s: %w", p.Host, p.Proto, err)
	}
	c[name] = conn
	return nil
}

// await claims all ports, in an order that keeps two who want the same ones from waiting for each other.
func (c claims) await(ctx context.Context, ports []Port) error {
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Host.Port(), b.Host.Port()))
	})
	for began, i := time.Now(), 0; i < len(ports); {
		err := c.take(ports[i])
		switch {
		case err == nil:
			i++
		case !errors.Is(err, errs.ErrBusy) || time.Since(began) > claimWait || ctx.Err() != nil:
			return err
		default:
			time.Sleep(claimEvery)
		}
	}
	return nil
}

func (c claims) release() {
	for _, conn := range c {
		conn.Close()
	}
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
