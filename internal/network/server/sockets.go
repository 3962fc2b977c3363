package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"noid/internal/network"
	"noid/internal/network/address"
	"noid/internal/network/control"
)

const (
	// errandWait bounds what the broker does for this process, which may make no unix socket itself.
	errandWait = 5 * time.Second
	// maxCome bounds a line of the guest's, in bytes.
	maxCome = 4 << 10
	// callFirst and callLast bound the time between two tries to reach the guest's agent.
	callFirst, callLast = 100 * time.Millisecond, 2 * time.Second
	// maxOpening bounds how many who came to the guest's sockets are being connected at once.
	maxOpening = 32
)

// sockets leads unix sockets of the guest to those of the host.
type sockets struct {
	server  *Server
	opening chan struct{}
	changed chan struct{} // has an element when the configuration has changed

	mu     sync.Mutex
	broker *broker
}

// broker is a helper of the VM that does what this process may not, as it may make no unix socket.
type broker struct {
	*control.Lines
	conn *net.UnixConn
	gone chan struct{} // closed when it is one no more
}

func newSockets(s *Server) *sockets {
	return &sockets{server: s, opening: make(chan struct{}, maxOpening), changed: make(chan struct{}, 1)}
}

// serve has b be the broker, from its first line on, until another one is or it ends.
func (k *sockets) serve(ctx context.Context, lines *control.Lines, conn *net.UnixConn) {
	var ready struct{}
	if _, err := lines.Read(&ready); err != nil {
		return
	}
	b := &broker{lines, conn, make(chan struct{})}
	k.mu.Lock()
	k.drop()
	k.broker = b
	k.mu.Unlock()
	k.change() // it may be asked what could not be done before
	select {
	case <-ctx.Done():
	case <-b.gone:
	}
}

// drop ends the broker. k.mu is held.
func (k *sockets) drop() {
	if k.broker != nil {
		close(k.broker.gone)
		k.broker = nil
	}
}

func (k *sockets) change() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// errand has the broker do something, and returns the connection that it was to make.
func (k *sockets) errand(e control.Errand) (done control.Done, conn *net.UnixConn, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broker == nil {
		return done, nil, errors.New(control.NoBroker)
	}
	k.broker.conn.SetDeadline(time.Now().Add(errandWait))
	err = k.broker.Write(e, nil)
	if err == nil {
		file, readErr := k.broker.Read(&done)
		switch err = readErr; {
		case err != nil:
		case done.Error != "":
			return done, nil, errors.New(done.Error)
		case e.Dial != "":
			conn, err = control.Conn(file)
			return done, conn, err
		}
	}
	if err != nil { // what comes next would be the answer to this
		k.drop()
	}
	return done, nil, err
}

// reload has the sockets of a configuration be there, and returns those that do not work.
func (k *sockets) reload(c network.Config) []control.Socket {
	k.change()
	return k.look(c)
}

// look returns the sockets of a configuration that do not work.
func (k *sockets) look(c network.Config) []control.Socket {
	done, _, err := k.errand(control.Errand{})
	if err != nil && len(c.Sockets) > 0 {
		for _, s := range c.Sockets {
			done.Sockets = append(done.Sockets, control.Socket{Socket: s, Problem: err.Error()})
		}
	}
	return done.Sockets
}

// keep has the guest's agent listen at the guest's sockets until ctx ends.
func (k *sockets) keep(ctx context.Context) {
	for wait := callFirst; ctx.Err() == nil; {
		if len(k.doors()) == 0 {
			select {
			case <-ctx.Done():
			case <-k.changed:
			}
			continue
		}
		began := time.Now()
		k.call(ctx)
		if time.Since(began) > 2*callLast {
			wait = callFirst
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, callLast)
	}
}

// doors are the sockets of the guest that lead out, by path.
func (k *sockets) doors() map[string]string {
	all := map[string]string{}
	for _, s := range k.server.policy.Load().config.Sockets {
		if s.Out {
			all[s.Guest] = s.Host
		}
	}
	return all
}

// call has a connection to the agent until it ends.
func (k *sockets) call(ctx context.Context) {
	try, cancel := context.WithTimeout(ctx, callLast)
	defer cancel()
	conn, err := k.server.stack.Agent(try, address.RelaySockets)
	if err != nil {
		return
	}
	defer conn.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.listen(conn)
	}()
	for {
		paths := []string{}
		for path := range k.doors() {
			paths = append(paths, path)
		}
		slices.Sort(paths)
		conn.SetWriteDeadline(time.Now().Add(errandWait))
		if json.NewEncoder(conn).Encode(paths) != nil || len(paths) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
			return
		case <-k.changed:
		}
	}
}

// listen hears who comes, from an agent that its guest may have taken over.
func (k *sockets) listen(conn net.Conn) {
	in := bufio.NewScanner(conn)
	in.Buffer(nil, maxCome)
	for in.Scan() {
		var come address.RelayCome
		if json.Unmarshal(in.Bytes(), &come) != nil {
			return
		}
		host, ok := k.doors()[come.Path]
		if !ok {
			continue
		}
		if come.Error != "" {
			k.server.log.socket(host, come.Path, errors.New(come.Error))
			continue
		}
		select {
		case k.opening <- struct{}{}:
			go func() {
				defer func() { <-k.opening }()
				err := k.open(host, come.Number)
				k.server.log.socket(host, come.Path, err)
			}()
		default: // whoever came is let go by the agent
		}
	}
}

// open leads one who came to a socket of this host.
func (k *sockets) open(host string, number uint64) error {
	_, conn, err := k.errand(control.Errand{Dial: host})
	if err != nil {
		return err
	}
	return k.server.stack.ForwardSocket(conn, address.RelayAccept+" "+strconv.FormatUint(number, 10))
}

// connect leads a connection of this host's to a socket of the guest.
func (k *sockets) connect(path string, host *net.UnixConn) error {
	if err := network.CheckGuestPath(path); err != nil {
		host.Close()
		return err
	}
	err := k.server.stack.ForwardSocket(host, path)
	k.server.log.socket("", path, err)
	if err != nil {
		return fmt.Errorf("the guest's agent: %w", err)
	}
	return nil
}
