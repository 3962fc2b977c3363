package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/helper"
	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/vmm"
)

const (
	// maxComing bounds who is being led to a socket of a guest at once.
	maxComing = 32
	// brokerWait is how long the broker of a network helper that has just started is waited for, and brokerAgain the time
	// between two looks for it. The helper of a VM that was replaced may still have its sockets: the broker comes after.
	brokerWait  = 3 * time.Second
	brokerAgain = 50 * time.Millisecond
)

// AddSockets leads unix sockets into the VM name, or out of it, at once. Of one whose path is taken, errs.ErrExists, none
// is added.
func (m *Manager) AddSockets(ctx context.Context, name string, sockets []network.Socket) error {
	s, c, err := m.openNet(ctx, name, "port")
	if err != nil {
		return err
	}
	defer s.close()
	for _, n := range sockets {
		if slices.ContainsFunc(c.Sockets, func(o network.Socket) bool { return o.Listener() == n.Listener() }) {
			return s.done(ctx, errs.New(errs.ErrExists, "vm %q has the socket %s already", name, n).Hint("'noid port ls "+name+"' lists its sockets"))
		}
	}
	if err := network.CheckFree(sockets); err != nil {
		return err
	}
	before := c
	if c.Sockets = slices.Concat(c.Sockets, sockets); len(c.Sockets) > network.MaxSockets {
		return errs.New(errs.ErrUsage, "a vm has at most %d sockets", network.MaxSockets)
	}
	if err := c.Save(s.dir); err != nil {
		return err
	}
	problems, err := s.reloadSockets(ctx, sockets)
	if problems != nil {
		err = errs.Join(append(problems, before.Save(s.dir))...)
		s.reload(ctx)
	}
	if err == nil {
		s.warnUnheard(sockets)
	}
	return s.errNet(err)
}

// reloadSockets is reload, again for a while where the VM's network helper has no broker yet, and says which of sockets do
// not work.
func (s *session) reloadSockets(ctx context.Context, sockets []network.Socket) ([]error, error) {
	for began := time.Now(); ; vmm.Sleep(ctx, brokerAgain) {
		a, err := s.reload(ctx)
		var problems []error
		early := false
		for _, p := range a.Sockets {
			if slices.Contains(sockets, p.Socket) {
				problems = append(problems, errs.New(errs.ErrBusy, "the socket %s: %s", p.Socket, p.Problem))
				early = early || p.Problem == control.NoBroker
			}
		}
		if err != nil || !early || ctx.Err() != nil || time.Since(began) > brokerWait {
			return problems, err
		}
	}
}

// warnUnheard says of sockets that lead out of a guest where nothing listens here.
func (m *Manager) warnUnheard(sockets []network.Socket) {
	for _, s := range sockets {
		if !s.Out {
			continue
		}
		c, err := net.Dial("unix", s.Host)
		if err != nil {
			var why unix.Errno
			errors.As(err, &why)
			m.warn(fmt.Sprintf("nothing listens at %s (%v): until something does, %s of the guest leads nowhere", s.Host, why, s.Guest))
			continue
		}
		c.Close()
	}
}

// RemoveSockets takes unix sockets from the VM name, at once. One without a path in the guest stands for those with its
// path, here or in the guest. One that the VM does not have is errs.ErrNotFound, and none is removed.
func (m *Manager) RemoveSockets(ctx context.Context, name string, sockets []network.Socket) error {
	s, c, err := m.openNet(ctx, name, "port")
	if err != nil {
		return err
	}
	defer s.close()
	for _, gone := range sockets {
		before := len(c.Sockets)
		c.Sockets = slices.DeleteFunc(c.Sockets, func(o network.Socket) bool {
			return o.Host == gone.Host && o.Guest == gone.Guest || gone.Guest == "" && (o.Host == gone.Host || o.Guest == gone.Host)
		})
		if len(c.Sockets) == before {
			return s.done(ctx, errs.New(errs.ErrNotFound, "vm %q has no socket %s", name, gone).Hint("'noid port ls "+name+"' lists its sockets"))
		}
	}
	if err := c.Save(s.dir); err != nil {
		return err
	}
	_, err = s.reload(ctx)
	return s.errNet(err)
}

// ForwardSocket has a unix socket of this host, which it makes, lead to one of the VM name until ctx ends. An empty path
// is one that it picks. ready is called when it does.
func (m *Manager) ForwardSocket(ctx context.Context, name string, socket network.Socket, ready func(network.Socket)) error {
	s, err := m.running(ctx, name, "forward")
	if err != nil {
		return err
	}
	if _, err := s.loadNet(); err != nil {
		return err
	}
	if socket.Host == "" {
		dir, err := os.MkdirTemp(os.Getenv("XDG_RUNTIME_DIR"), "noid-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		socket.Host = filepath.Join(dir, filepath.Base(socket.Guest))
	}
	if err := network.CheckFree([]network.Socket{socket}); err != nil {
		return err
	}
	l, err := helper.ListenSocket(socket.Host)
	if err != nil {
		return err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	ready(socket)
	places := make(chan struct{}, maxComing)
	for {
		conn, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		}
		select {
		case places <- struct{}{}:
			go func() {
				defer func() { <-places }()
				s.handOver(ctx, conn, socket.Guest)
			}()
		default:
			conn.Close()
		}
	}
}

func (s *session) handOver(ctx context.Context, conn *net.UnixConn, guest string) {
	defer conn.Close()
	if err := helper.HandOver(ctx, s.control(), conn, guest); err != nil && ctx.Err() == nil {
		s.warn("the socket " + guest + ": " + err.Error())
	}
}

// socketEnv is what a command has in its environment of the VM's sockets: where the host's ssh-agent is.
func (s *session) socketEnv() []string {
	c, err := network.Load(s.dir)
	if err != nil || !slices.ContainsFunc(c.Sockets, func(o network.Socket) bool { return o.Out && o.Guest == network.AgentSocket }) {
		return nil
	}
	return []string{"SSH_AUTH_SOCK=" + network.AgentSocket}
}

// SSHAgent is the socket of this user's ssh-agent, as the environment has it. errs.ErrNotFound where there is none.
func SSHAgent() (network.Socket, error) {
	path := os.Getenv("SSH_AUTH_SOCK")
	if path == "" {
		return network.Socket{}, errs.New(errs.ErrNotFound, "no ssh-agent: SSH_AUTH_SOCK is not set").Hint("start one: eval $(ssh-agent)")
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		return network.Socket{}, errs.New(errs.ErrNotFound, "no ssh-agent: %w", errors.Unwrap(err)).Hint("start one: eval $(ssh-agent)")
	}
	c.Close()
	return network.ParseSocket(path+":"+network.AgentSocket, true)
}

// removeSockets removes what a killed helper of a VM has left of its sockets.
func removeSockets(c network.Config) {
	for _, s := range c.Sockets {
		if !s.Out && network.Stale(s.Host) {
			os.Remove(s.Host)
		}
	}
}
