package agent

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// vsockListener listens on AF_VSOCK. It is small enough to do without a package for it.
type vsockListener struct {
	f    *os.File
	port uint32
}

// listenVsock listens on a port of this guest's, whatever its context ID: a clone may get another one.
func listenVsock(port uint32) (net.Listener, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a vsock: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("binding vsock port %d: %w", port, err)
	}
	if err := unix.Listen(fd, 128); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listening on vsock port %d: %w", port, err)
	}
	return &vsockListener{os.NewFile(uintptr(fd), "vsock"), port}, nil
}

func (l *vsockListener) Accept() (net.Conn, error) {
	raw, err := l.f.SyscallConn()
	if err != nil {
		return nil, net.ErrClosed
	}
	var fd int
	var errno error
	err = raw.Read(func(s uintptr) bool {
		fd, _, errno = unix.Accept4(int(s), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return errno != unix.EAGAIN
	})
	if err != nil {
		return nil, net.ErrClosed
	}
	if errno != nil {
		return nil, os.NewSyscallError("accept4", errno)
	}
	return vsockConn{os.NewFile(uintptr(fd), "vsock")}, nil
}

func (l *vsockListener) Close() error   { return l.f.Close() }
func (l *vsockListener) Addr() net.Addr { return vsockAddr(l.port) }

// vsockConn is a connection. A reset by the host (a snapshot) is an error of its Read, never io.EOF.
type vsockConn struct{ *os.File }

func (vsockConn) LocalAddr() net.Addr  { return vsockAddr(0) }
func (vsockConn) RemoteAddr() net.Addr { return vsockAddr(0) }

type vsockAddr uint32

func (vsockAddr) Network() string  { return "vsock" }
func (a vsockAddr) String() string { return fmt.Sprintf("vsock:%d", uint32(a)) }
