// Package mux runs many connections over QEMU's virtio-serial port, which is one byte pipe. The guest calls Listen, the
// host Connect, or Serve for a unix socket in front of it.
//
// The streams are yamux's. Below yamux both ends resynchronise. The guest does not notice that the host's process
// changed, or that it was restored from a snapshot, and bytes of the old session reach the new one. So the host sends a
// marker and a random nonce, and drops what it reads until the guest has answered with the same nonce. Behind it both
// begin a new session.
//
//	host → guest   M 0x00             a marker that was in the data: the guest removes the 0x00
//	               M 0x01 nonce       forget the session before, its connections are lost
//	               M 0x03             what came before it was data, the beginning of a marker too
//	guest → host   M 0x02 nonce       a fresh session begins behind this
//	               M 0x04             the guest knows of no session
//
// Only what the host sends is escaped. The host looks for markers only while it resynchronises. In a session the last
// of them, which is no yamux, makes it do so: a guest whose agent was started again says it to whatever arrives. The
// agent before may have died in the middle of a frame, which takes that in. So it is said at some length, each time.
package mux

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

const (
	// MaxStreams bounds the connections of one session at a time. Each may buffer streamWindow bytes at either end.
	MaxStreams = 256
	// streamWindow is the least that yamux takes: with the agent's own window of 512 KiB it is not what limits a
	// stream.
	streamWindow = 256 << 10
	// openTimeout is how long the host waits for the guest to take a new stream before it gives the session up and
	// resynchronises.
	openTimeout = 20 * time.Second
	// forever stands for no timeout where yamux wants one: a paused guest takes nothing for days.
	forever = 10 * 365 * 24 * time.Hour
)

// ErrLost is what a connection's Read and Write return when the session under it has ended. It is never io.EOF, which
// says that the other side closed.
var ErrLost = errors.New("connection lost: the session of the guest's port has ended")

// config returns yamux's configuration. Keepalive would end the session of a paused guest.
func config() *yamux.Config {
	return &yamux.Config{
		AcceptBacklog:          2 * MaxStreams,
		KeepAliveInterval:      forever, // not enabled, but not to be 0
		ConnectionWriteTimeout: forever,
		MaxStreamWindowSize:    streamWindow,
		LogOutput:              io.Discard,
	}
}

// joiner keeps the header of a data frame until its content comes. yamux writes the two one after the other, and a
// write more costs an emulated guest as much as some 10 KiB.
type joiner struct{ header []byte }

// headerLen is the length of yamux's header: a version, a type, flags, the stream's number, the content's length.
// frameData is the type of what has content.
const (
	headerLen = 12
	frameData = 0
)

// hold takes b, one write of yamux's, if it is a header to hold. Else the caller writes j.header, b, and calls done.
func (j *joiner) hold(b []byte) bool {
	if len(j.header) > 0 || len(b) != headerLen || b[1] != frameData || binary.BigEndian.Uint32(b[8:]) == 0 {
		return false
	}
	j.header = append(j.header, b...)
	return true
}

func (j *joiner) done() { j.header = j.header[:0] }

// conn is a stream as a net.Conn. Its Close ends both directions, as a socket's does. yamux's own is CloseWrite.
type conn struct {
	*yamux.Stream
	session *yamux.Session
	reading sync.Mutex
	closed  atomic.Bool
}

func newConn(s *yamux.Stream) *conn { return &conn{Stream: s, session: s.Session()} }

// Read returns io.EOF for a close by the other side alone, and ErrLost for the end of the session. yamux mixes the two
// up.
func (c *conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	n, err := c.Stream.Read(p)
	return n, c.explain(err)
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Stream.Write(p)
	return n, c.explain(err)
}

func (c *conn) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case c.closed.Load():
		return net.ErrClosed
	case c.session.IsClosed():
		return ErrLost
	case errors.Is(err, yamux.ErrTimeout):
		return os.ErrDeadlineExceeded
	}
	return err
}

// CloseWrite lets the other side read io.EOF; reading goes on.
func (c *conn) CloseWrite() error { return c.Stream.Close() }

// Close ends both directions. What the other side still sends is dropped.
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.Stream.SetDeadline(time.Unix(1, 0)) // ends a Read and a Write under way
	go func() {
		c.Stream.Close()
		c.reading.Lock() // nobody reads any longer once this is had, and nobody will
		c.Stream.SetReadDeadline(time.Time{})
		c.reading.Unlock()
		buf := make([]byte, 4<<10)
		for { // ends with the other side's close or with the session
			if _, err := c.Stream.Read(buf); err != nil {
				return
			}
		}
	}()
	return nil
}
