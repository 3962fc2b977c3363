// Package sshd is the SSH server in a guest. It serves one connection on standard input and output, which 'noid
// ssh-proxy' connects to the ssh of a user of the host.
//
// It trusts its client: whoever can run 'noid ssh-proxy' may run any command in the guest as any user, so no key is
// checked. Once the client has said as whom it logs in, the whole process becomes that user: commands, sftp, forwarded
// ports and sockets have that user's rights and no others.
package sshd

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
)

// Main serves the connection on standard input and output to its end.
func Main() error {
	// Caught, not ignored: a command that this process starts would inherit that.
	ends, broken := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	signal.Notify(broken, unix.SIGPIPE)
	c := newConn(0, 1)
	go func() {
		<-ends
		c.Close()
	}()
	return serve(c)
}

// server is the server of one connection.
type server struct {
	conn    *ssh.ServerConn
	account login.Account
	env     []string // of every command
	dir     string   // in which a command starts
	agent   agentSocket

	mu        sync.Mutex
	listeners map[string]net.Listener // by what the client calls them
	closed    bool
}

// serve reads the seed of the host key, and serves what follows until its end.
func serve(c net.Conn) error {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(c, seed); err != nil {
		return fmt.Errorf("reading the host key: %w", err)
	}
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return err
	}
	config := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-noid",
		NoClientAuth:  true,
		// For clients that insist on a key.
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil },
	}
	config.AddHostKey(key)
	conn, channels, requests, err := ssh.NewServerConn(c, config)
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
		return nil // the client has looked at the key, or was interrupted
	} else if err != nil {
		return err
	}
	s := &server{conn: conn, listeners: map[string]net.Listener{}}
	refusal := s.logIn(conn.User())
	var sessions sync.WaitGroup
	for ch := range inOrder(channels, requests, func(r *ssh.Request) { s.answer(r, refusal == nil) }) {
		switch {
		case refusal != nil:
			ch.Reject(ssh.Prohibited, refusal.Error())
		case ch.ChannelType() == "session":
			sessions.Go(func() { s.session(ch) })
		default:
			go s.direct(ch)
		}
	}
	sessions.Wait() // all have been hung up
	s.close()
	return nil
}

// inOrder yields a client's channels, and has answer answer its requests that belong to none, in the order in which they
// came: the command of ssh -R finds the port. (The connection has passed a request on before it reads what comes next.)
func inOrder(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request, answer func(*ssh.Request)) iter.Seq[ssh.NewChannel] {
	return func(yield func(ssh.NewChannel) bool) {
		for {
			select {
			case r, more := <-requests:
				if !more {
					requests = nil
					continue
				}
				answer(r)
			case ch, more := <-channels:
				if !more {
					return
				}
				for len(requests) > 0 {
					if r, more := <-requests; more {
						answer(r)
					}
				}
				if !yield(ch) {
					return
				}
			}
		}
	}
}

// logIn makes this process one of user's. The error is for the client.
func (s *server) logIn(user string) (err error) {
	if s.account, err = login.Lookup("/", user); err != nil {
		return err
	}
	login.KeepTerminals()
	if c := s.account.Credential(); c != nil {
		groups := make([]int, len(c.Groups))
		for i, g := range c.Groups {
			groups[i] = int(g)
		}
		err := syscall.Setgroups(groups)
		if err == nil {
			err = syscall.Setgid(int(c.Gid))
		}
		if err == nil {
			err = syscall.Setuid(int(c.Uid))
		}
		if err != nil {
			return fmt.Errorf("becoming user %q: %w", user, err)
		}
	}
	s.dir = s.account.Home
	if os.Chdir(s.dir) != nil { // from where sftp starts too
		s.dir = "/"
		os.Chdir(s.dir)
	}
	// PATH is the image's, if that has one; the rest is this user's whatever the environment of this process.
	own := s.account.Environ()
	s.env = login.Merge(own, os.Environ(), own[1:],
		[]string{"SSH_CLIENT=UNKNOWN 65535 65535", "SSH_CONNECTION=UNKNOWN 65535 UNKNOWN 65535"}) // as sshd -i has them
	return nil
}

// close ends what listens in the guest for the client.
func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, l := range s.listeners {
		l.Close()
	}
	s.agent.remove()
}

// stdio is a connection of two pipes.
type stdio struct{ in, out *os.File }

// newConn makes a connection of two descriptors. Close ends a Read and a Write.
func newConn(in, out int) net.Conn {
	unix.SetNonblock(in, true)
	unix.SetNonblock(out, true)
	return stdio{os.NewFile(uintptr(in), "stdin"), os.NewFile(uintptr(out), "stdout")}
}

func (c stdio) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c stdio) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c stdio) Close() error                     { return errors.Join(c.in.Close(), c.out.Close()) }
func (c stdio) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "stdio", Net: "unix"} }
func (c stdio) RemoteAddr() net.Addr             { return c.LocalAddr() }
func (c stdio) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c stdio) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c stdio) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
