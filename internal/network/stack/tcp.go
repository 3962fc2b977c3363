package stack

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"noid/internal/network/address"
)

// dialWait bounds a connection's making. A guest waits longer, and asks again.
const dialWait = 30 * time.Second

// accept serves one connection that the guest opens, on a goroutine of its own. The guest's connect succeeds when that
// to the server did.
func (s *Stack) accept(r *tcp.ForwarderRequest) {
	id := r.ID()
	guest, to := addrPort(id.RemoteAddress, id.RemotePort), addrPort(id.LocalAddress, id.LocalPort)
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port()) // what the policy sees is what is dialled
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	peer := s.isPeer(to.Addr())
	if !peer && s.isNameServer("tcp", to) {
		if c := s.complete(r); c != nil {
			s.serveQueries(ctx, c)
		}
		return
	}
	if isGateway(to.Addr()) {
		r.Complete(true)
		return
	}
	if s.allow("tcp", to) != nil {
		r.Complete(true)
		return
	}
	f := &flow{key: key{guest, to}, proto: "tcp", end: cancel}
	if peer {
		s.callPeer(ctx, r, f)
		return
	}
	if i := s.config.Interceptor; i != nil && i.Wants(to.Port()) {
		s.intercept(ctx, r, f)
		return
	}
	host, err := s.dial(ctx, to)
	if err != nil {
		// Silence for a server that is silent: the guest tries again, and says that it timed out.
		r.Complete(!os.IsTimeout(err))
		return
	}
	if c := s.complete(r); c == nil {
		reset(host)
	} else {
		s.relay(f, c, host)
	}
}

// complete has the guest's connect succeed. Nil is a guest that went away meanwhile.
func (s *Stack) complete(r *tcp.ForwarderRequest) *conn {
	queue := new(waiter.Queue)
	ep, err := r.CreateEndpoint(queue)
	r.Complete(err != nil)
	if err != nil {
		return nil
	}
	return s.newConn(ep, queue)
}

// intercept completes the connection before the server is asked: the interceptor may ask another.
func (s *Stack) intercept(ctx context.Context, r *tcp.ForwarderRequest, f *flow) {
	c := s.complete(r)
	if c == nil {
		return
	}
	cancel := f.end
	f.end = func() { cancel(); c.abort() }
	c.flow = f
	s.tcp.add(f)
	defer s.tcp.remove(f)
	guest, err := s.config.Interceptor.Handle(c, f.remote.Port())
	if err != nil || guest == nil {
		return
	}
	if !s.holds(f) { // the guest has chosen when it says what it wants
		c.abort()
		return
	}
	host, err := s.dial(ctx, f.remote)
	if err != nil {
		c.abort()
		return
	}
	defer context.AfterFunc(ctx, func() { reset(host) })()
	splice(guest, host)
}

// splice carries data both ways until both ends are done, and closes both.
func splice(guest net.Conn, host *net.TCPConn) {
	defer guest.Close()
	defer host.Close()
	var both sync.WaitGroup
	both.Go(func() {
		if _, err := io.Copy(host, guest); err != nil {
			reset(host)
			return
		}
		host.CloseWrite()
	})
	if _, err := io.Copy(struct{ io.Writer }{guest}, host); err != nil {
		guest.Close()
	} else if half, ok := guest.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	both.Wait()
}

// dial connects to an address of the guest's choice that the policy allows.
func (s *Stack) dial(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	var problems []error
	for _, target := range targets(to) {
		c, err := s.config.Dial(ctx, target)
		if err == nil {
			return c, nil
		}
		problems = append(problems, err)
	}
	return nil, problems[0]
}

func dialDirectly(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: dialWait}
	c, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// Dial connects to a TCP port of the guest, as the host. The error wraps unix.ECONNREFUSED if the guest refuses.
func (s *Stack) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	c, err := s.dialGuest(ctx, port)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (s *Stack) dialGuest(ctx context.Context, port uint16) (*conn, error) {
	c, err := s.dialAddr(ctx, address.Host4, address.Guest4.Addr(), port)
	if errors.Is(err, unix.ECONNREFUSED) {
		if c6, err6 := s.dialAddr(ctx, address.Host6, address.Guest6.Addr(), port); err6 == nil {
			return c6, nil
		}
	}
	return c, err
}

func (s *Stack) dialAddr(ctx context.Context, from, to netip.Addr, port uint16) (*conn, error) {
	queue := new(waiter.Queue)
	ep, err := s.stack.NewEndpoint(tcp.ProtocolNumber, protocolOf(to), queue)
	if err != nil {
		return nil, errors.New(err.String())
	}
	entry, ready := waiter.NewChannelEntry(waiter.EventOut | waiter.EventErr | waiter.EventHUp)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	if err = ep.Bind(tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(from.AsSlice())}); err == nil {
		err = ep.Connect(tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(to.AsSlice()), Port: port})
	}
	if _, started := err.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			ep.Close()
			return nil, ctx.Err()
		case <-ready:
			err = ep.LastError()
		}
	}
	if err != nil {
		ep.Close()
		return nil, asError("connecting to the guest", err)
	}
	return s.newConn(ep, queue), nil
}

func asError(op string, err tcpip.Error) error {
	cause := errors.New(err.String())
	switch err.(type) {
	case *tcpip.ErrConnectionRefused, *tcpip.ErrConnectionReset:
		cause = unix.ECONNREFUSED
	}
	return &net.OpError{Op: op, Net: "tcp", Err: cause}
}
