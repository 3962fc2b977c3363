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

// relay carries data both ways until both ends are done, one is reset, or the flow is cut. It closes both.
func (s *Stack) relay(f *flow, guest *conn, host *net.TCPConn) {
	cancel := f.end
	f.end = func() {
		if cancel != nil {
			cancel()
		}
		guest.abort()
		reset(host)
	}
	s.tcp.add(f)
	defer s.tcp.remove(f)
	if s.ctx.Err() != nil || !s.holds(f) { // Close and SetPolicy have not seen it
		f.end()
	}
	var both sync.WaitGroup
	both.Go(func() {
		if !fromGuest(f, guest, host) {
			f.end()
		}
	})
	if !fromHost(f, guest, host) {
		f.end()
	}
	both.Wait()
	guest.Close()
	host.Close()
}

// fromGuest carries the guest's data to its end, and returns false if the connection broke.
func fromGuest(f *flow, guest *conn, host *net.TCPConn) bool {
	for {
		data, n, err := guest.receive()
		switch err.(type) {
		case nil:
		case *tcpip.ErrClosedForReceive:
			return host.CloseWrite() == nil
		default:
			return false
		}
		f.sent.Add(uint64(n))
		f.touch()
		_, werr := host.Write((*data)[:n])
		buffers.Put(data)
		if werr != nil {
			return false
		}
	}
}

// fromHost carries the host's data to its end, and returns false if the connection broke.
func fromHost(f *flow, guest *conn, host *net.TCPConn) bool {
	raw, err := host.SyscallConn()
	if err != nil {
		return false
	}
	for {
		data, n, err := readReady(raw)
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

// readReady waits for data, and reads it into a buffer that it takes only then. The caller puts it back. The end of a
// stream is io.EOF.
func readReady(raw syscall.RawConn) (data *[]byte, n int, err error) {
	if data, n, err = readDatagram(raw); err == nil && n == 0 {
		buffers.Put(data)
		return nil, 0, io.EOF
	}
	return data, n, err
}

// readDatagram is readReady where nothing is something.
func readDatagram(raw syscall.RawConn) (data *[]byte, n int, err error) {
	waited := raw.Read(func(fd uintptr) bool {
		data = buffers.Get().(*[]byte)
		if n, err = ignoringEINTR(func() (int, error) { return unix.Read(int(fd), *data) }); err == nil {
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
