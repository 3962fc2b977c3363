package helper

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/vmm"
)

const (
	// brokerWait is between two tries to be the broker of a network helper, dialWait bounds a connection to a socket of
	// this host, and connectWait one to the guest's.
	brokerWait  = 200 * time.Millisecond
	dialWait    = 3 * time.Second
	connectWait = 30 * time.Second
	// handWait is how long sockets of this host are waited for that another has.
	handWait = 2 * time.Second
	// maxErrand bounds a line of the network helper's, in bytes.
	maxErrand = 64 << 10
	// maxComing bounds who is being led to the guest at once.
	maxComing = 32
	// busyWait is a pause when this process has no descriptor left.
	busyWait = 50 * time.Millisecond
)

// broker makes the unix sockets of this host for the network helper of the VM in the current directory, which may make
// none: those that net.json names, and no others.
type broker struct {
	control.Client
	coming chan struct{}

	mu   sync.Mutex
	open map[string]*net.UnixListener // by network.Socket.String
}

// keepSockets is the broker until ctx ends. Then the sockets that it has made are gone.
func keepSockets(ctx context.Context, vmmPID int) {
	b := &broker{open: map[string]*net.UnixListener{}, coming: make(chan struct{}, maxComing)}
	b.Client = control.Client{VMM: vmmPID, Dial: func(ctx context.Context) (net.Conn, error) {
		conn, err := vmm.Dial(ctx, ".", network.ControlSocket)
		if err != nil {
			vmm.Sleep(ctx, brokerWait)
			return nil, err
		}
		return conn, nil
	}}
	for ctx.Err() == nil {
		if _, conn, err := b.Hold(ctx, control.Request{Op: control.Broker}); err == nil {
			b.serve(ctx, conn.(*net.UnixConn))
		}
		vmm.Sleep(ctx, brokerWait)
	}
	b.listen(ctx, nil)
}

// serve does what the network helper asks for until the connection ends.
func (b *broker) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	lines := control.NewLines(conn, maxErrand)
	c, err := network.Load(".")
	if err == nil {
		b.await(ctx, c.Sockets)
		err = lines.Write(struct{}{}, nil)
	}
	for err == nil {
		var e control.Errand
		if _, err = lines.Read(&e); err != nil {
			return
		}
		done, file := b.do(ctx, e)
		err = lines.Write(done, file)
		if file != nil {
			file.Close()
		}
	}
}

// await is listen, again for a while: the helper of a VM that this one replaces may still have them.
func (b *broker) await(ctx context.Context, sockets []network.Socket) {
	for began := time.Now(); len(b.listen(ctx, sockets)) > 0 && time.Since(began) < handWait && ctx.Err() == nil; {
		vmm.Sleep(ctx, brokerWait)
	}
}

// do does one errand, by the configuration as it is now.
func (b *broker) do(ctx context.Context, e control.Errand) (done control.Done, file *os.File) {
	c, err := network.Load(".")
	if err == nil && e.Dial == "" {
		done.Sockets = b.listen(ctx, c.Sockets)
	} else if err == nil {
		file, err = dialSocket(ctx, c.Sockets, e.Dial)
	}
	if err != nil {
		done.Error = err.Error()
	}
	return done, file
}

// dialSocket connects to a socket of this host that the guest's are led to.
func dialSocket(ctx context.Context, sockets []network.Socket, path string) (*os.File, error) {
	if !slices.ContainsFunc(sockets, func(s network.Socket) bool { return s.Out && s.Host == path }) {
		return nil, errors.New("no socket of the vm leads there")
	}
	d := net.Dialer{Timeout: dialWait}
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*net.UnixConn).File()
}

// listen listens at the sockets of this host that lead to the guest's, and no longer at others. It returns those at
// which it cannot.
func (b *broker) listen(ctx context.Context, sockets []network.Socket) (failed []control.Socket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	wanted := map[string]network.Socket{}
	for _, s := range sockets {
		if !s.Out {
			wanted[s.String()] = s
		}
	}
	for key, l := range b.open {
		if _, ok := wanted[key]; !ok {
			l.Close()
			delete(b.open, key)
		}
	}
	for key, s := range wanted {
		if b.open[key] != nil {
			continue
		}
		l, err := ListenSocket(s.Host)
		if err != nil {
			failed = append(failed, control.Socket{Socket: s, Problem: err.Error()})
			continue
		}
		b.open[key] = l
		go b.accept(ctx, l, s.Guest)
	}
	return failed
}

// ListenSocket makes a socket that only this user may use, in place of one that nobody listens at. Closed, it is removed.
func ListenSocket(path string) (*net.UnixListener, error) {
	if network.Stale(path) {
		os.Remove(path)
	}
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// accept leads who comes to l to a socket of the guest, until l is closed.
func (b *broker) accept(ctx context.Context, l *net.UnixListener, guest string) {
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			vmm.Sleep(ctx, busyWait)
			continue
		}
		select {
		case b.coming <- struct{}{}:
			go func() {
				defer func() { <-b.coming }()
				defer conn.Close()
				if err := HandOver(ctx, b.Client, conn, guest); err != nil {
					note("noid: the socket " + guest + ": " + err.Error() + "\n")
				}
			}()
		default:
			conn.Close()
		}
	}
}

// HandOver gives a connection to the network helper, which leads it to a socket of the guest. The caller closes conn.
func HandOver(ctx context.Context, to control.Client, conn *net.UnixConn, guest string) error {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	file, err := conn.File()
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = to.AskWith(ctx, control.Request{Op: control.Connect, Socket: guest}, file)
	return errs.WithHint(err, "'noid net log' says why")
}
