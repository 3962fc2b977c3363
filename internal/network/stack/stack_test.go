package stack

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network/address"
	"noid/internal/network/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// fakePolicy refuses what is in its lists.
type fakePolicy struct {
	mu    sync.Mutex
	ports map[uint16]bool // refused, of any address
	nets  []netip.Prefix  // refused
}

func (p *fakePolicy) Allow(proto string, to netip.AddrPort) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ports[to.Port()] {
		return errors.New("its port is denied")
	}
	for _, n := range p.nets {
		if n.Contains(to.Addr()) {
			return errors.New("its net is denied")
		}
	}
	return nil
}

func (p *fakePolicy) Keep(proto string, to netip.AddrPort) error { return p.Allow(proto, to) }

type network struct {
	*Stack
	*nettest.Guest
	policy  *fakePolicy
	refused chan string
}

func newNetwork(t testing.TB, change func(*Config)) *network {
	g := nettest.NewGuest(t)
	n := &network{Guest: g, refused: make(chan string, 100), policy: &fakePolicy{ports: map[uint16]bool{66: true}, nets: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}
	c := Config{FD: g.FD, Policy: n.policy, Refused: func(proto string, to netip.AddrPort, why error) {
		select {
		case n.refused <- fmt.Sprintf("%s %s: %v", proto, to, why):
		default:
		}
	}}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	n.Stack = s
	ended := make(chan error, 1)
	go func() { ended <- s.Run() }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ended; err != nil {
			t.Error("Run:", err)
		}
	})
	return n
}

// dial connects in the guest.
func (n *network) dial(t testing.TB, network, to string) net.Conn {
	t.Helper()
	c, err := n.try(network, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

func (n *network) try(network, to string) (c net.Conn, err error) {
	n.Do(func() { c, err = net.DialTimeout(network, to, time.Minute) })
	return c, err
}

// serve listens on the internet, and has each connection served.
func serve(t testing.TB, at string, each func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go each(c.(*net.TCPConn))
		}
	}()
	return l.Addr().String()
}

// echo sends back all that it got, but only once the client has said that it is done.
func echo(c *net.TCPConn) {
	defer c.Close()
	var all bytes.Buffer
	io.Copy(&all, c)
	c.Write(all.Bytes())
}

func TestTCP(t *testing.T) {
	n := newNetwork(t, nil)
	for _, at := range []string{nettest.Server4 + ":0", "[" + nettest.Server6 + "]:0"} {
		to := serve(t, at, echo)
		c := n.dial(t, "tcp", to).(*net.TCPConn)
		data := make([]byte, 8<<20)
		for i := range data {
			data[i] = byte(i * i >> 8)
		}
		if _, err := c.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil { // the server answers only then
			t.Fatal(err)
		}
		back, err := io.ReadAll(c)
		if err != nil || sha256.Sum256(back) != sha256.Sum256(data) {
			t.Errorf("%s: %d bytes of %d came back, or others, %v", at, len(back), len(data), err)
		}
	}
}

// TestRefused has the guest told at once, in each protocol.
func TestRefused(t *testing.T) {
	n := newNetwork(t, nil)
	for _, to := range []string{"192.0.2.7:80", nettest.Server4 + ":66", nettest.Server4 + ":9", "[" + nettest.Server6 + "]:66", "[" + nettest.Server6 + "]:9", "[2001:db8:1::1]:80", "10.63.0.1:80", "10.63.0.77:66"} {
		if c, err := n.try("tcp", to); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("tcp %s: %v, %v", to, c, err)
		}
		c := n.dial(t, "udp", to)
		c.Write([]byte("anybody there?"))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.EACCES) {
			t.Errorf("udp %s: %v", to, err)
		}
	}
	if got := <-n.refused; got != "tcp 192.0.2.7:80: its net is denied" {
		t.Errorf("told of %q", got)
	}
}

// udpEcho answers every datagram.
func udpEcho(t testing.TB, at string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo(buf[:n], from)
		}
	}()
	return c.LocalAddr().String()
}

func TestUDP(t *testing.T) {
	n := newNetwork(t, nil)
	for _, at := range []string{nettest.Server4 + ":0", "[" + nettest.Server6 + "]:0"} {
		c := n.dial(t, "udp", udpEcho(t, at))
		for _, size := range []int{0, 1, 1472, 9000, 60000} { // in fragments, too
			data := bytes.Repeat([]byte{byte(size)}, size)
			if _, err := c.Write(data); err != nil {
				t.Fatal(err)
			}
			back := make([]byte, 64<<10)
			got, err := c.Read(back)
			if err != nil || !bytes.Equal(back[:got], data) {
				t.Errorf("%s: %d bytes of %d came back, %v", at, got, size, err)
			}
		}
	}
}

func TestPing(t *testing.T) {
	n := newNetwork(t, nil)
	for to, want := range map[string]error{nettest.Server4: nil, nettest.Server6: nil, "10.63.0.1": nil, "fd63:6e6f:6964::fe": nil,
		"192.0.2.1": unix.EHOSTUNREACH, "2001:db8:1::1": unix.EACCES} {
		if err := n.ping(to); !errors.Is(err, want) && err != want {
			t.Errorf("ping %s: %v, want %v", to, err, want)
		}
	}
}

// ping sends a ping from the guest, and returns what came of it.
func (n *network) ping(to string) (err error) {
	n.Do(func() {
		f, e := openSocket(netip.AddrPortFrom(netip.MustParseAddr(to), 0), protoPing)
		if err = e; err != nil {
			return
		}
		defer f.Close()
		f.SetDeadline(time.Now().Add(10 * time.Second))
		kind := byte(8)
		if netip.MustParseAddr(to).Is6() {
			kind = 128
		}
		data := append([]byte{kind, 0, 0, 0, 0, 0, 0, 7}, "noid"...)
		if _, err = f.Write(data); err != nil {
			return
		}
		buf := make([]byte, 100)
		var got int
		if got, err = f.Read(buf); err == nil && string(buf[6:got]) != "\x00\x07noid" {
			err = fmt.Errorf("answer %q", buf[:got])
		}
	})
	return err
}

// TestHost reaches a server on this host's loopback at the host's address in the guest's network.
func TestHost(t *testing.T) {
	n := newNetwork(t, nil)
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		_, port, _ := net.SplitHostPort(serve(t, at, echo))
		for _, host := range []netip.Addr{address.Host4, address.Host6} {
			c := n.dial(t, "tcp", net.JoinHostPort(host.String(), port)).(*net.TCPConn)
			c.Write([]byte("hello"))
			c.CloseWrite()
			if back, err := io.ReadAll(c); string(back) != "hello" || err != nil {
				t.Errorf("%s by %s: %q, %v", at, host, back, err)
			}
		}
	}
}

// TestSetPolicy cuts at once what is no longer allowed, and nothing else.
func TestSetPolicy(t *testing.T) {
	n := newNetwork(t, nil)
	hold := func(c *net.TCPConn) { io.Copy(c, c) }
	keep, cut := n.dial(t, "tcp", serve(t, nettest.Server4+":0", hold)), n.dial(t, "tcp", serve(t, "198.51.100.2:0", hold))
	for _, c := range []net.Conn{keep, cut} {
		c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	n.SetPolicy(&fakePolicy{nets: []netip.Prefix{netip.MustParsePrefix("198.51.100.2/32")}})
	if _, err := cut.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the cut one: %v", err)
	}
	keep.Write([]byte("x"))
	if _, err := io.ReadFull(keep, make([]byte, 1)); err != nil {
		t.Errorf("the other: %v", err)
	}
	if flows := n.Flows(); len(flows) != 1 || flows[0].Sent != 2 || flows[0].Got != 2 || flows[0].Remote.String() != keep.RemoteAddr().String() {
		t.Errorf("flows %+v", flows)
	}
}
