package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"noid/internal/network/address"
	"noid/internal/network/intercept"
	"noid/internal/network/proxy"
)

// dialWait bounds a connection's making. A guest waits longer, and asks again.
const dialWait = 30 * time.Second

var errTCPAlone = errors.New("this host's proxy, by which the vm has its network, carries tcp alone")

// carried refuses what the host's proxy cannot carry, of a VM that has its network by it.
func (p *hosted) carried(proto string, to netip.AddrPort) error {
	if p.config.HostProxy && proto != "tcp" && to.Addr() != address.Host4 && to.Addr() != address.Host6 {
		return errTCPAlone
	}
	return nil
}

// dial connects to an address that the policy allows.
func (s *Server) dial(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	if s.policy.Load().config.HostProxy {
		return s.byProxy(ctx, "", to)
	}
	d := net.Dialer{Timeout: dialWait}
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// connect is dial for an address of a secret's host. The proxy is asked for the name: the certificate tells whether it
// led there.
func (s *Server) connect(ctx context.Context, name string, to netip.AddrPort) (net.Conn, error) {
	if !s.policy.Load().config.HostProxy {
		return intercept.Directly(ctx, name, to)
	}
	c, err := s.byProxy(ctx, name, to)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// byProxy says in the log what the proxy does not connect to.
func (s *Server) byProxy(ctx context.Context, name string, to netip.AddrPort) (*net.TCPConn, error) {
	c, err := proxy.Dial(ctx, name, to)
	if err != nil {
		s.log.refused("tcp", to.String(), err)
	}
	return c, err
}
