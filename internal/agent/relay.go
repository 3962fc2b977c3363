package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network/address"
)

const (
	virtioNet = 1 // the device's ID in the virtio specification
	// maxRelays bounds connections at once; more are reset.
	maxRelays = 256
	relayWait = 10 * time.Second // for the line, and for the server on the loopback
)

// relay connects the host to servers that listen on the guest's loopback alone. Who connects says a port, in decimal
// and with a newline. Then the connection is one with that port of 127.0.0.1, or of ::1. A port that nobody answers at
// gets a reset.
type relay struct {
	at, from netip.Addr // where it listens, and whom alone it serves
	port     uint16
	open     chan struct{} // has an element for each connection
}

// serveRelays serves the host's network helper for as long as the guest runs.
func serveRelays() {
	if !hasVirtio(virtioNet) {
		return
	}
	open := make(chan struct{}, maxRelays)
	for _, r := range []relay{
		{address.Guest4.Addr(), address.Host4, address.RelayPort, open},
		{address.Guest6.Addr(), address.Host6, address.RelayPort, open},
	} {
		go func() {
			defer logPanic()
			for ; ; time.Sleep(relayWait) { // a kernel without IPv6 never has its address
				if l, err := r.listen(); err == nil {
					r.serve(l)
				}
			}
		}()
	}
}

// listen does not need the address to be there yet.
func (r relay) listen() (*net.TCPListener, error) {
	level, option := unix.SOL_IP, unix.IP_FREEBIND
	if r.at.Is6() {
		level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }), err)
	}}
	l, err := config.Listen(context.Background(), "tcp", netip.AddrPortFrom(r.at, r.port).String())
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// serve accepts connections of l until that fails.
func (r relay) serve(l *net.TCPListener) {
	defer l.Close()
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			return
		}
		peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		if err != nil || peer.Addr() != r.from {
			reset(conn)
			continue
		}
		select {
		case r.open <- struct{}{}:
			go func() {
				defer logPanic()
				defer func() { <-r.open }()
				r.connect(conn)
			}()
		default:
			reset(conn)
		}
	}
}

// connect serves one connection to its end.
func (r relay) connect(conn *net.TCPConn) {
	conn.SetDeadline(time.Now().Add(relayWait))
	port, err := readPort(conn)
	if err != nil {
		reset(conn)
		return
	}
	server, err := net.DialTimeout("tcp", "127.0.0.1:"+port, relayWait)
	if err != nil {
		if server, err = net.DialTimeout("tcp", "[::1]:"+port, relayWait); err != nil {
			reset(conn)
			return
		}
	}
	conn.SetDeadline(time.Time{})
	join(conn, server.(*net.TCPConn))
}

// readPort reads the line, and nothing of what comes after it.
func readPort(conn io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < len("65535\n"); line = append(line, b[0]) {
		if _, err := io.ReadFull(conn, b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			break
		}
	}
	port, err := strconv.ParseUint(strings.TrimSuffix(string(line), "\n"), 10, 16)
	return strconv.FormatUint(port, 10), err
}

// join passes on what comes on each of two connections to the other, the end of it too, until both have ended.
func join(a, b *net.TCPConn) {
	done := make(chan error, 2)
	for _, way := range [][2]*net.TCPConn{{a, b}, {b, a}} {
		go func() {
			defer logPanic()
			_, err := io.Copy(way[0], way[1])
			if err == nil {
				err = way[0].CloseWrite()
			}
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil { // one is broken: so is the other, from now on
			reset(a)
			reset(b)
		}
	}
	a.Close()
	b.Close()
}

// reset closes a connection so that the peer's next word fails.
func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}
