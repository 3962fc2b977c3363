package stack

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long a flow of datagrams lives with nothing going through it: until an answer, and after one. RFC 4787 wants the
// longer one to be two minutes or more.
const (
	unansweredWait = 30 * time.Second
	answeredWait   = 2 * time.Minute
)

// proto is what a socket of datagrams speaks.
type proto bool

const (
	protoUDP  proto = false
	protoPing proto = true
)

// openSocket connects a socket of datagrams. The error comes at once if there is no way to target, or if this host
// lets noid send no pings.
func openSocket(target netip.AddrPort, p proto) (*os.File, error) {
	family, number := unix.AF_INET, unix.IPPROTO_UDP
	var to unix.Sockaddr = &unix.SockaddrInet4{Port: int(target.Port())}
	if a := target.Addr(); a.Is4() {
		to.(*unix.SockaddrInet4).Addr = a.As4()
	} else {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Port: int(target.Port()), Addr: a.As16()}
	}
	if p == protoPing {
		if number = unix.IPPROTO_ICMP; family == unix.AF_INET6 {
			number = unix.IPPROTO_ICMPV6
		}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, number)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, to); err != nil && !target.Addr().IsUnspecified() {
		unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}

// tryPing tells why this host sends no pings: the group of this process must be in net.ipv4.ping_group_range.
func tryPing(family netip.Addr) error {
	f, err := openSocket(netip.AddrPortFrom(family, 0), protoPing)
	if err != nil {
		return err
	}
	return f.Close()
}

// socket is the host's end of a flow of datagrams.
type socket struct {
	*flow
	file   *os.File
	answer func(data []byte) // takes a datagram to the guest
	refuse func()            // tells the guest that nobody is there
}

// open puts a socket into its table, and has its answers carried to the guest.
func (s *Stack) open(t *table, c *socket) *flow {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return nil
	}
	c.send = func(data []byte) {
		c.sent.Add(uint64(len(data)))
		c.touch()
		c.file.SetReadDeadline(time.Now().Add(c.wait()))
		var err error // one that finds no room is lost
		if raw.Control(func(fd uintptr) { _, err = unix.Write(int(fd), data) }) == nil && err == unix.ECONNREFUSED {
			c.refuse() // the answer to one before
		}
	}
	c.end = func() { c.file.Close() }
	t.add(c.flow)
	if s.ctx.Err() != nil || !s.holds(c.flow) { // Close and SetPolicy have not seen it
		c.end()
	}
	go func() {
		defer t.remove(c.flow)
		defer c.end()
		c.carry(raw)
	}()
	return c.flow
}

func (c *socket) wait() time.Duration {
	if c.got.Load() == 0 {
		return unansweredWait
	}
	return answeredWait
}

// carry takes answers to the guest until the flow is cut or has been idle for long.
func (c *socket) carry(raw syscall.RawConn) {
	c.file.SetReadDeadline(time.Now().Add(unansweredWait))
	for {
		data, n, err := readDatagram(raw)
		switch {
		case err == nil:
			c.got.Add(max(uint64(n), 1))
			c.touch()
			c.file.SetReadDeadline(time.Now().Add(answeredWait))
			c.answer((*data)[:n])
			buffers.Put(data)
		case errors.Is(err, unix.ECONNREFUSED):
			c.refuse()
		case !errors.As(err, new(unix.Errno)): // idle for too long, or closed
			return
		}
	}
}
