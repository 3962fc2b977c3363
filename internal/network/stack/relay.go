package stack

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// stream is the far end of a guest's TCP connection: on this host, or in another VM.
type stream interface {
	Write(data []byte) (int, error)
	// receive waits for data, and reads it into a buffer that it takes only then. The caller puts it back. The end of a
	// stream is io.EOF.
	receive() (data *[]byte, n int, err error)
	CloseWrite() error
	Close() error
	// abort closes it with what the other side takes for a reset.
	abort()
}

// hostEnd is a connection of this host's, by TCP or a unix socket.
type hostEnd interface {
	net.Conn
	CloseWrite() error
	SyscallConn() (syscall.RawConn, error)
}

// hostConn is a stream of this host's.
type hostConn struct{ hostEnd }

func (c hostConn) receive() (data *[]byte, n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, 0, err
	}
	return readReady(raw)
}

func (c hostConn) abort() { reset(c.hostEnd) }

// relay carries data both ways until both ends are done, one is reset, or the flow is cut. It closes both.
func (s *Stack) relay(f *flow, guest *conn, host hostEnd) {
	s.relayIn(&s.tcp, f, guest, hostConn{host})
}

// relayIn is relay for a flow of the table t.
func (s *Stack) relayIn(t *table, f *flow, guest *conn, far stream) {
	cancel := f.end
	f.end = func() {
		if cancel != nil {
			cancel()
		}
		guest.abort()
		far.abort()
	}
	t.add(f)
	defer t.remove(f)
	if s.ctx.Err() != nil || !s.holds(f) { // Close and SetPolicy have not seen it
		f.end()
	}
	var both sync.WaitGroup
	both.Go(func() {
		if !fromGuest(f, guest, far) {
			f.end()
		}
	})
	if !toGuest(f, guest, far) {
		f.end()
	}
	both.Wait()
	guest.Close()
	far.Close()
}

// fromGuest carries the guest's data to its end, and returns false if the connection broke.
func fromGuest(f *flow, guest *conn, far stream) bool {
	for {
		data, n, err := guest.receive()
		switch err.(type) {
		case nil:
		case *tcpip.ErrClosedForReceive:
			return far.CloseWrite() == nil
		default:
			return false
		}
		f.sent.Add(uint64(n))
		f.touch()
		_, werr := far.Write((*data)[:n])
		buffers.Put(data)
		if werr != nil {
			return false
		}
	}
}

// toGuest carries the far end's data to its end, and returns false if the connection broke.
func toGuest(f *flow, guest *conn, far stream) bool {
	for {
		data, n, err := far.receive()
		switch {
		case errors.Is(err, io.EOF):
			guest.CloseWrite()
			return true
		case err != nil:
			return false
		}
		f.got.Add(uint64(n))
		f.touch()
		werr := guest.send((*data)[:n])
		buffers.Put(data)
		if werr != nil {
			return false
		}
	}
}

// readReady waits for data, and reads it into a buffer that it takes only then, as much as one packet carries. The caller
// puts it back. The end of a stream is io.EOF.
func readReady(raw syscall.RawConn) (data *[]byte, n int, err error) {
	if data, n, err = readUpTo(raw, segmentMax); err == nil && n == 0 {
		buffers.Put(data)
		return nil, 0, io.EOF
	}
	return data, n, err
}

// readDatagram is readReady where nothing is something.
func readDatagram(raw syscall.RawConn) (data *[]byte, n int, err error) {
	return readUpTo(raw, bufferBytes)
}

func readUpTo(raw syscall.RawConn, most int) (data *[]byte, n int, err error) {
	waited := raw.Read(func(fd uintptr) bool {
		data = buffers.Get().(*[]byte)
		if n, err = ignoringEINTR(func() (int, error) { return unix.Read(int(fd), (*data)[:most]) }); err == nil {
			return true
		}
		buffers.Put(data)
		data = nil
		return err != unix.EAGAIN
	})
	if waited != nil {
		err = waited
	}
	return data, n, err
}

func ignoringEINTR(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}
