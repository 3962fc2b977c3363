package sshd

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"
)

// stream is a connection whose writing end can be closed alone: TCP's, a unix socket's, a channel's.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// direct connects a channel to a server in the guest: ssh -L, -D and -W.
func (s *server) direct(offer ssh.NewChannel) {
	var network, address string
	var tcp struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	var unix struct {
		Path     string
		Reserved string
		Number   uint32
	}
	switch kind := offer.ChannelType(); {
	case kind == "direct-tcpip" && ssh.Unmarshal(offer.ExtraData(), &tcp) == nil:
		network, address = "tcp", net.JoinHostPort(tcp.Host, strconv.Itoa(int(tcp.Port)))
	case kind == "direct-streamlocal@openssh.com" && ssh.Unmarshal(offer.ExtraData(), &unix) == nil:
		network, address = "unix", unix.Path
	default:
		offer.Reject(ssh.UnknownChannelType, "noid does not know this kind of channel")
		return
	}
	there, err := dial(network, address, tcp.Host == "localhost")
	if err != nil {
		offer.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	here, requests, err := offer.Accept()
	if err != nil {
		there.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	join(here, there.(stream))
}

// dial connects. A guest need not have an /etc/hosts that knows localhost.
func dial(network, address string, localhost bool) (net.Conn, error) {
	if !localhost {
		return net.Dial(network, address)
	}
	_, port, _ := net.SplitHostPort(address)
	c, err := net.Dial(network, net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		if c, err2 := net.Dial(network, net.JoinHostPort("::1", port)); err2 == nil {
			return c, nil
		}
	}
	return c, err
}

// answer answers a request of the client's that belongs to no channel.
func (s *server) answer(r *ssh.Request, loggedIn bool) {
	var payload []byte
	ok := false
	if loggedIn {
		ok, payload = s.global(r)
	}
	if r.WantReply {
		r.Reply(ok, payload)
	}
}

// global does what a request asks: ssh -R.
func (s *server) global(r *ssh.Request) (ok bool, payload []byte) {
	var tcp struct {
		Host string
		Port uint32
	}
	var unix struct{ Path string }
	switch r.Type {
	case "tcpip-forward":
		if !parse(r, &tcp) {
			return false, nil
		}
		l, err := listenTCP(tcp.Host, tcp.Port)
		if err != nil {
			return false, nil
		}
		port := uint32(l.Addr().(*net.TCPAddr).Port)
		if tcp.Port == 0 {
			payload = ssh.Marshal(struct{ Port uint32 }{port})
		}
		return s.forward(l, tcpKey(tcp.Host, port), func(c net.Conn) (string, []byte) {
			from, _ := c.RemoteAddr().(*net.TCPAddr)
			return "forwarded-tcpip", ssh.Marshal(struct {
				Host       string
				Port       uint32
				Origin     string
				OriginPort uint32
			}{tcp.Host, port, from.IP.String(), uint32(from.Port)})
		}), payload
	case "cancel-tcpip-forward":
		return parse(r, &tcp) && s.cancel(tcpKey(tcp.Host, tcp.Port)), nil
	case "streamlocal-forward@openssh.com":
		if !parse(r, &unix) {
			return false, nil
		}
		l, err := listenUnix(unix.Path)
		if err != nil {
			return false, nil
		}
		return s.forward(l, "unix "+unix.Path, func(net.Conn) (string, []byte) {
			return "forwarded-streamlocal@openssh.com", ssh.Marshal(struct{ Path, Reserved string }{unix.Path, ""})
		}), nil
	case "cancel-streamlocal-forward@openssh.com":
		return parse(r, &unix) && s.cancel("unix "+unix.Path), nil
	}
	return false, nil // keepalive@openssh.com too: any answer will do
}

func tcpKey(host string, port uint32) string {
	return "tcp " + net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// listenTCP listens where the client says (RFC 4254, section 7.1).
func listenTCP(host string, port uint32) (net.Listener, error) {
	switch host {
	case "*":
		host = ""
	case "localhost":
		host = "127.0.0.1"
	}
	return net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
}

// listenUnix listens at a path, for the user alone.
func listenUnix(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// forward offers the client each connection that comes to l, by the channel that describe names, until key is
// cancelled.
func (s *server) forward(l net.Listener, key string, describe func(net.Conn) (kind string, payload []byte)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.listeners[key] != nil {
		l.Close()
		return false
	}
	s.listeners[key] = l
	go s.accept(l, describe)
	return true
}

func (s *server) accept(l net.Listener, describe func(net.Conn) (kind string, payload []byte)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			kind, payload := describe(c)
			ch, requests, err := s.conn.OpenChannel(kind, payload)
			if err != nil {
				c.Close()
				return
			}
			go ssh.DiscardRequests(requests)
			join(ch, c.(stream))
		}()
	}
}

func (s *server) cancel(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.listeners[key]
	if l == nil {
		return false
	}
	delete(s.listeners, key)
	return l.Close() == nil
}

// join passes on what comes on each of two streams to the other, the end of it too, until both have ended.
func join(a, b stream) {
	var both sync.WaitGroup
	for _, way := range [][2]stream{{a, b}, {b, a}} {
		both.Go(func() {
			if _, err := io.Copy(way[0], way[1]); err != nil { // one is broken: so is the other, from now on
				a.Close()
				b.Close()
			}
			way[0].CloseWrite()
		})
	}
	both.Wait()
	a.Close()
	b.Close()
}

// agentSocket is the socket in the guest that leads to the client's ssh-agent: ssh -A.
type agentSocket struct {
	once sync.Once
	path string
	err  error
}

// listen returns the socket's path.
func (a *agentSocket) listen(s *server) (string, error) {
	a.once.Do(func() {
		var dir string
		if dir, a.err = os.MkdirTemp("", "ssh-"); a.err != nil {
			return
		}
		a.path = filepath.Join(dir, "agent."+strconv.Itoa(os.Getpid()))
		l, err := listenUnix(a.path)
		if a.err = err; err != nil {
			os.Remove(dir)
			return
		}
		s.forward(l, "agent", func(net.Conn) (string, []byte) { return "auth-agent@openssh.com", nil })
	})
	return a.path, a.err
}

// remove removes the socket's directory.
func (a *agentSocket) remove() {
	if a.path != "" {
		os.RemoveAll(filepath.Dir(a.path))
	}
}
