package stack

import (
	"bytes"
	"net"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/waiter"
)

// conn is the guest's end of a TCP connection: a net.Conn, whose data can also be had without a buffer for each one
// that waits.
type conn struct {
	*gonet.TCPConn
	ep      tcpip.Endpoint
	queue   *waiter.Queue
	closing *closing
	flow    *flow // counts what is read and written; nil: nobody counts
	once    sync.Once
}

func (s *Stack) newConn(ep tcpip.Endpoint, queue *waiter.Queue) *conn {
	return &conn{TCPConn: gonet.NewTCPConn(queue, ep), ep: ep, queue: queue, closing: &s.closing}
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if c.flow != nil && n > 0 {
		c.flow.sent.Add(uint64(n))
		c.flow.touch()
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	if c.flow != nil && n > 0 {
		c.flow.got.Add(uint64(n))
		c.flow.touch()
	}
	return n, err
}

// Close ends the connection as a whole. It may be called again, and after abort.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.ep.Close()
		c.closing.add(c.ep)
	})
	return nil
}

// abort answers the guest with RST from now on.
func (c *conn) abort() { c.once.Do(c.ep.Abort) }

// await calls try until it returns true, at each of these events.
func (c *conn) await(events waiter.EventMask, try func() bool) {
	entry, ready := waiter.NewChannelEntry(events | waiter.EventErr | waiter.EventHUp)
	c.queue.EventRegister(&entry)
	defer c.queue.EventUnregister(&entry)
	for !try() {
		<-ready
	}
}

// receive waits for data of the guest, and reads it into a buffer that it takes only then.
func (c *conn) receive() (data *[]byte, n int, err tcpip.Error) {
	c.await(waiter.EventIn, func() bool {
		if c.ep.Readiness(waiter.ReadableEvents|waiter.EventErr|waiter.EventHUp) == 0 {
			return false
		}
		data = buffers.Get().(*[]byte)
		w := tcpip.SliceWriter(*data)
		var result tcpip.ReadResult
		if result, err = c.ep.Read(&w, tcpip.ReadOptions{}); err == nil {
			n = result.Count
			return true
		}
		buffers.Put(data)
		data = nil
		_, blocked := err.(*tcpip.ErrWouldBlock)
		return !blocked
	})
	return data, n, err
}

// send writes all of data for the guest.
func (c *conn) send(data []byte) (err tcpip.Error) {
	c.await(waiter.EventOut, func() bool {
		var n int64
		n, err = c.ep.Write(bytes.NewReader(data), tcpip.WriteOptions{})
		data = data[n:]
		if _, blocked := err.(*tcpip.ErrWouldBlock); blocked {
			err = nil
			return len(data) == 0
		}
		return err != nil || len(data) == 0
	})
	return err
}

// bufferBytes holds any datagram.
const bufferBytes = 64 << 10

// buffers are for data between two reads and writes.
var buffers = sync.Pool{New: func() any { b := make([]byte, bufferBytes); return &b }}

// reset closes the host's end of a connection, with RST where it is TCP.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}
