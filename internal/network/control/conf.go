package control

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxConf bounds a resolv.conf, in bytes, and confWait the wait for it.
const (
	maxConf  = 64 << 10
	confWait = 2 * time.Second
)

// ConfPipe makes the two ends by which a network helper has a resolv.conf: a file that replaced the one which was there
// when it was confined is out of its reach, and whoever started it reads it. theirs is the helper's, for NewConf. ours
// serves the file at path until the helper has ended; the caller closes both.
func ConfPipe(path string) (ours io.Closer, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(pair[1]), "resolv.conf")
	end := os.NewFile(uintptr(pair[0]), "resolv.conf")
	defer end.Close()
	conn, err := net.FileConn(end)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	go func() {
		defer conn.Close()
		for number := make([]byte, 1); ; {
			if n, err := conn.Read(number); n != 1 || err != nil {
				return
			}
			answer := number
			if data, err := readConf(path); err == nil {
				answer = append([]byte{number[0]}, data...)
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}()
	return conn, theirs, nil
}

func readConf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConf-1))
}

// Conf is a resolv.conf as the other end of a ConfPipe reads it.
type Conf struct {
	mu     sync.Mutex
	conn   net.Conn
	number byte
}

// NewConf returns that of the descriptor fd, which it closes. What is none is left alone, and Read fails.
func NewConf(fd int) *Conf {
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return &Conf{}
	}
	f := os.NewFile(uintptr(fd), "resolv.conf")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return &Conf{}
	}
	return &Conf{conn: conn}
}

// Read returns what the file has in it now.
func (c *Conf) Read() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil, errors.New("nobody reads resolv.conf for this process")
	}
	c.number++ // an answer that came too late is another's
	c.conn.SetDeadline(time.Now().Add(confWait))
	if _, err := c.conn.Write([]byte{c.number}); err != nil {
		return nil, err
	}
	for buf := make([]byte, maxConf); ; {
		n, err := c.conn.Read(buf)
		switch {
		case err != nil:
			return nil, err
		case n == 1 && buf[0] == c.number:
			return nil, errors.New("resolv.conf cannot be read")
		case n > 0 && buf[0] == c.number:
			return buf[1:n], nil
		}
	}
}
