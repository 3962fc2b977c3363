package lab

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is what a message on a flow is.
type Kind byte

const (
	Data    Kind = iota // the bytes of a stream, or a datagram
	End                 // a stream ends. Without it, it was reset
	Opened              // the guest has taken a connection, or
	Refused             // has refused it, or a datagram
	Silent              // the guest does not answer
)

// MaxData is how much one message carries, in bytes.
const MaxData = 1 << 16

// Conn is an end of a flow between two network helpers. It carries messages, each whole or not at all.
type Conn struct {
	file *os.File
	raw  syscall.RawConn
}

func newConn(fd int) (*Conn, error) {
	c := &Conn{file: os.NewFile(uintptr(fd), "flow")}
	var err error
	if c.raw, err = c.file.SyscallConn(); err != nil {
		c.file.Close()
	}
	return c, err
}

// Send sends a message, and blocks until there is room for it. To one who has closed it is EPIPE.
func (c *Conn) Send(kind Kind, data []byte) error {
	_, err := c.send(kind, data, true)
	return err
}

// TrySend is Send for a datagram, which is lost if there is no room.
func (c *Conn) TrySend(kind Kind, data []byte) (sent bool, err error) {
	return c.send(kind, data, false)
}

func (c *Conn) send(kind Kind, data []byte, wait bool) (sent bool, err error) {
	parts := [][]byte{{byte(kind)}, data}
	waited := c.raw.Write(func(fd uintptr) bool {
		for err = unix.EINTR; err == unix.EINTR; {
			_, err = unix.SendmsgBuffers(int(fd), parts, nil, nil, unix.MSG_NOSIGNAL)
		}
		return err != unix.EAGAIN || !wait
	})
	if err == unix.EAGAIN {
		return false, waited
	}
	return err == nil, errors.Join(waited, err)
}

// Receive waits for a message, and reads it into a buffer of MaxData bytes that it takes from pool, a *[]byte, only then.
// The caller puts that back. n is the data's length. What the other end has closed, or the deadline has passed, is an
// error.
func (c *Conn) Receive(pool *sync.Pool) (kind Kind, data *[]byte, n int, err error) {
	var first [1]byte
	waited := c.raw.Read(func(fd uintptr) bool {
		data = pool.Get().(*[]byte)
		for err = unix.EINTR; err == unix.EINTR; {
			n, err = unix.Readv(int(fd), [][]byte{first[:], *data})
		}
		if err == nil && n > 0 {
			return true
		}
		pool.Put(data)
		data = nil
		return err != unix.EAGAIN
	})
	switch {
	case waited != nil:
		err = waited
	case err == nil && n == 0:
		err = io.EOF
	}
	return Kind(first[0]), data, n - 1, err
}

// SetReadDeadline is that of net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.file.SetReadDeadline(t) }

// Close ends the flow, for both ends. It may be called again.
func (c *Conn) Close() error { return c.file.Close() }
