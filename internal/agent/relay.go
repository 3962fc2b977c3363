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

// relay connects the host to servers that listen on the guest's loopback alone, and to unix sockets. Who connects says
// in a line what for:
//
//   - a port, in decimal: the connection becomes one with that port of 127.0.0.1, or of ::1;
//   - an absolute path: it becomes one with that unix socket;
//   - address.RelaySockets: it is for doors;
//   - address.RelayAccept and a number: it becomes one with who has come to a door.
//
// What nobody answers at gets a reset.
type relay struct {
	at, from netip.Addr // where it listens, and whom alone it serves
	port     uint16
	open     chan struct{} // has an element for each connection
	doors    *doors
}

// serveRelays serves the host's network helper for as long as the guest runs.
func serveRelays() {
	if !hasVirtio(virtioNet) {
		return
	}
	open, doors := make(chan struct{}, maxRelays), &doors{}
	for _, r := range []relay{
		{address.Guest4.Addr(), address.Host4, address.RelayPort, open, doors},
		{address.Guest6.Addr(), address.Host6, address.RelayPort, open, doors},
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
	line, err := readLine(conn)
	if err != nil {
		reset(conn)
		return
	}
	if line == address.RelaySockets {
		conn.SetDeadline(time.Time{})
		r.doors.serve(conn)
		return
	}
	server, err := r.dial(line)
	if err != nil {
		reset(conn)
		return
	}
	conn.SetDeadline(time.Time{})
	join(conn, server)
}

// dial returns what a connection is to be joined with.
func (r relay) dial(line string) (stream, error) {
	if number, ok := strings.CutPrefix(line, address.RelayAccept+" "); ok {
		return r.doors.take(number)
	}
	network, at := "unix", line
	if !strings.HasPrefix(line, "/") {
		port, err := strconv.ParseUint(line, 10, 16)
		if err != nil {
			return nil, err
		}
		network, at = "tcp", "127.0.0.1:"+strconv.FormatUint(port, 10)
	}
	server, err := net.DialTimeout(network, at, relayWait)
	if err != nil && network == "tcp" {
		server, err = net.DialTimeout("tcp", "[::1]"+strings.TrimPrefix(at, "127.0.0.1"), relayWait)
	}
	if err != nil {
		return nil, err
	}
	return server.(stream), nil
}

// maxLine bounds the line, in bytes.
const maxLine = 200

// readLine reads the line, and nothing of what comes after it.
func readLine(conn io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < maxLine; line = append(line, b[0]) {
		if _, err := io.ReadFull(conn, b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
	}
	return "", errors.New("the line is too long")
}

// stream is a connection by TCP or a unix socket.
type stream interface {
	net.Conn
	CloseWrite() error
}

// join passes on what comes on each of two connections to the other, the end of it too, until both have ended.
func join(a, b stream) {
	done := make(chan error, 2)
	for _, way := range [][2]stream{{a, b}, {b, a}} {
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
func reset(conn net.Conn) {
	if t, ok := conn.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	conn.Close()
}
