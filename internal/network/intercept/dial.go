package intercept

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"
)

// dialWait is how long one address of a host may take to accept a connection, if there are others.
const dialWait = 5 * time.Second

// Dialer returns an Options.Dial. answer answers a DNS query as for the guest, so that rules for names hold; allow is the
// policy, which decides on each address that is dialled; connect makes a connection to an address that a name has.
func Dialer(answer func(ctx context.Context, query []byte, proto string) []byte, allow func(proto string, to netip.AddrPort) error,
	connect func(ctx context.Context, name string, to netip.AddrPort) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	names := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go serveQueries(ctx, ours, answer)
		return theirs, nil
	}}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		addrs, err := names.LookupNetIP(ctx, "ip", host+".") // with the dot no domain of this host's is appended
		if err != nil {
			return nil, fmt.Errorf("resolving %s: %w", host, err)
		}
		slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return a.Unmap().BitLen() - b.Unmap().BitLen() })
		var problems []error
		for _, addr := range addrs {
			to, err := netip.ParseAddrPort(net.JoinHostPort(addr.Unmap().String(), port))
			if err == nil {
				err = allow("tcp", to)
			}
			if err == nil {
				var conn net.Conn
				if conn, err = connect(ctx, host, to); err == nil {
					return &at{conn, net.TCPAddrFromAddrPort(to)}, nil
				}
			}
			problems = append(problems, fmt.Errorf("%s: %w", host, err))
		}
		return nil, errors.Join(problems...)
	}
}

// at is a connection to an address, by whatever way.
type at struct {
	net.Conn
	to net.Addr
}

func (a *at) RemoteAddr() net.Addr { return a.to }

// Directly is a connect of Dialer.
func Directly(ctx context.Context, _ string, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{Timeout: dialWait}
	return d.DialContext(ctx, "tcp", to.String())
}

// serveQueries answers DNS queries as over TCP (RFC 1035, section 4.2.2) until the other end of conn is closed.
func serveQueries(ctx context.Context, conn net.Conn, answer func(context.Context, []byte, string) []byte) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		reply := answer(ctx, query, "tcp")
		if len(reply) == 0 || len(reply) > 0xffff {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}
