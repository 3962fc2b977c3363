package stack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network/address"
	"noid/internal/network/nettest"
)

// TestForward reaches servers of the guest by ports of the host: by TCP, by UDP, and a port that nobody has.
func TestForward(t *testing.T) {
	n := newNetwork(t, nil)
	var l net.Listener
	var u net.PacketConn
	n.Do(func() {
		l, _ = net.Listen("tcp", "[::]:8080")
		u, _ = net.ListenPacket("udp4", "0.0.0.0:53")
	})
	defer l.Close()
	defer u.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(c, "you are %s, ", c.RemoteAddr().(*net.TCPAddr).IP)
		echo(c.(*net.TCPConn))
	}()
	host, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer host.Close()
	connect := func(port uint16) *net.TCPConn {
		out, err := net.Dial("tcp", host.Addr().String())
		must(t, err)
		in, err := host.Accept()
		must(t, err)
		go n.Forward(in.(*net.TCPConn), port)
		out.SetDeadline(time.Now().Add(time.Minute))
		t.Cleanup(func() { out.Close() })
		return out.(*net.TCPConn)
	}
	c := connect(8080)
	c.Write([]byte("hello"))
	c.CloseWrite()
	if back, err := io.ReadAll(c); string(back) != "you are 10.63.0.254, hello" || err != nil {
		t.Errorf("%q, %v", back, err)
	}
	if _, err := connect(81).Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("of a port that nobody has: %v", err)
	}

	port, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	defer port.Close()
	go func() {
		buf := make([]byte, 100)
		for {
			k, from, err := port.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			n.ForwardUDP(port, from, 53, buf[:k])
		}
	}()
	for _, name := range []string{"a", "b"} { // two senders, who get their own answers
		s, err := net.Dial("udp", port.LocalAddr().String())
		must(t, err)
		defer s.Close()
		s.SetDeadline(time.Now().Add(time.Minute))
		for range 2 {
			fmt.Fprint(s, name)
			buf := make([]byte, 100)
			k, from, err := u.ReadFrom(buf)
			must(t, err)
			u.WriteTo([]byte("hello "+string(buf[:k])), from)
			if k, err = s.Read(buf); err != nil || string(buf[:k]) != "hello "+name {
				t.Errorf("%q, %v", buf[:k], err)
			}
		}
	}
	c.Close()
	for len(n.tcp.list()) > 0 {
		time.Sleep(time.Millisecond)
	}
	if flows := n.Flows(); len(flows) != 2 || !flows[0].Inbound || flows[0].Guest.Port() != 53 {
		t.Errorf("flows %+v", flows)
	}
	n.CloseForward(port)
	if flows := n.Flows(); len(flows) != 0 {
		t.Errorf("of a port that is closed: %+v", flows)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestQueries answers over UDP and TCP, two on a connection, and not what the resolver does not answer: at the gateway,
// and where the policy lets nobody ask.
func TestQueries(t *testing.T) {
	n := newNetwork(t, func(c *Config) {
		c.Resolve = func(_ context.Context, query []byte, proto string) []byte {
			if string(query) == "nonsense" {
				return nil
			}
			return []byte(proto + " " + string(query))
		}
	})
	for _, gateway := range []netip.Addr{address.Gateway4, address.Gateway6, netip.MustParseAddr("192.0.2.9")} {
		at := netip.AddrPortFrom(gateway, 53).String()
		c := n.dial(t, "udp", at)
		c.Write([]byte("nonsense"))
		c.Write([]byte("who?"))
		buf := make([]byte, 100)
		if k, err := c.Read(buf); err != nil || string(buf[:k]) != "udp who?" {
			t.Errorf("%q, %v", buf[:k], err)
		}
		c = n.dial(t, "tcp", at)
		for range 2 {
			c.Write(append([]byte{0, 4}, "who?"...))
			if _, err := io.ReadFull(c, buf[:10]); err != nil || string(buf[:10]) != "\x00\x08tcp who?" {
				t.Errorf("%q, %v", buf[:10], err)
			}
		}
		c.Write(append([]byte{0, 8}, "nonsense"...))
		if _, err := c.Read(buf); err != io.EOF {
			t.Errorf("after nonsense: %v", err)
		}
	}
}

// TestLease has the answer come to the guest's client, by broadcast.
func TestLease(t *testing.T) {
	n := newNetwork(t, func(c *Config) {
		c.Lease = func(request []byte) []byte { return append([]byte("lease for "), request...) }
	})
	var err error
	var got string
	n.Do(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		must(t, errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1), unix.BindToDevice(fd, "eth0"),
			unix.Bind(fd, &unix.SockaddrInet4{Port: 68}), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60})))
		if err = unix.Sendto(fd, []byte("me"), 0, &unix.SockaddrInet4{Port: 67, Addr: [4]byte{255, 255, 255, 255}}); err != nil {
			return
		}
		buf := make([]byte, 100)
		var k int
		k, _, err = unix.Recvfrom(fd, buf, 0)
		got = string(buf[:max(k, 0)])
	})
	if got != "lease for me" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestLease6 has the answer come to the link-local address of the guest's client.
func TestLease6(t *testing.T) {
	n := newNetwork(t, func(c *Config) {
		c.Lease6 = func(request []byte) []byte { return append([]byte("lease for "), request...) }
	})
	var err error
	var got string
	n.Do(func() {
		var c *net.UDPConn
		if c, err = net.ListenUDP("udp6", &net.UDPAddr{Port: 546}); err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 100)
		for began := time.Now(); got == "" && time.Since(began) < time.Minute; { // eth0 may have no link-local address yet
			c.WriteTo([]byte("me"), &net.UDPAddr{IP: dhcpServers.AsSlice(), Port: 547, Zone: "eth0"})
			c.SetReadDeadline(time.Now().Add(time.Second))
			var k int
			k, _, err = c.ReadFrom(buf)
			got = string(buf[:max(k, 0)])
		}
	})
	if got != "lease for me" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestRouter has a guest without a route of its own learn one.
func TestRouter(t *testing.T) {
	n := newNetwork(t, nil)
	n.Do(func() {
		must(t, nettest.IP("link set eth0 down", "-6 route flush default", "link set eth0 up"))
	})
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		out, err := n.Guest.Run("ip", "-6", "route", "show", "default")
		must(t, err)
		if strings.Contains(out, "via "+linkLocal.String()) && strings.Contains(out, "proto ra") {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("routes %q", out)
		}
	}
}

// TestLeastRecentlyUsed has new flows take the place of those that are used least.
func TestLeastRecentlyUsed(t *testing.T) {
	n := newNetwork(t, func(c *Config) { c.Limits = Limits{TCP: 4, UDP: 4} })
	to := serve(t, nettest.Server4+":0", func(c *net.TCPConn) { io.Copy(c, c) })
	used := n.dial(t, "tcp", to)
	say := func(c net.Conn) error {
		c.Write([]byte("x"))
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	must(t, say(used))
	idle := n.dial(t, "tcp", to)
	must(t, say(idle))
	for range 6 {
		must(t, say(used))
		must(t, say(n.dial(t, "tcp", to)))
	}
	if err := say(used); err != nil {
		t.Errorf("one that is used: %v", err)
	}
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("one that is not: %v", err)
	}
	echo := udpEcho(t, nettest.Server4+":0")
	for range 50 {
		must(t, say(n.dial(t, "udp", echo)))
	}
	if flows := len(n.Flows()); flows > 8 {
		t.Errorf("%d flows", flows)
	}
}

// TestMemory cuts connections whose data nobody takes.
func TestMemory(t *testing.T) {
	n := newNetwork(t, func(c *Config) { c.Limits = Limits{Memory: 24 << 20} })
	to := serve(t, nettest.Server4+":0", func(c *net.TCPConn) { select {} })
	var all sync.WaitGroup
	var cut sync.Map
	data := make([]byte, 4<<20)
	for i := range 80 {
		c := n.dial(t, "tcp", to)
		all.Go(func() {
			var err error
			for err == nil { // buffers between may take all of it once
				_, err = c.Write(data)
			}
			if errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
				cut.Store(i, true)
			}
		})
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		some := false
		cut.Range(func(any, any) bool { some = true; return false })
		if some {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("none is cut, the heap has %d MiB", Heap()>>20)
		}
	}
	n.SetPolicy(&fakePolicy{nets: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
	all.Wait()
}

// TestClosing resets the oldest of the closed connections whose data the guest does not take, where there is no room for
// them or no memory. The others have all of it.
func TestClosing(t *testing.T) {
	const room, answer = 8, 400 << 10
	n := newNetwork(t, func(c *Config) { c.Limits = Limits{Closing: room} })
	all := n.untaken(t, room+3, answer)
	n.shrink(0)
	for i, c := range all {
		got, err := io.Copy(io.Discard, c)
		if reset := errors.Is(err, unix.ECONNRESET); reset != (i < 3+room/4) || !reset && (err != nil || got != answer) {
			t.Errorf("connection %d got %d bytes, %v", i, got, err)
		}
	}
}

// untaken makes connections one after the other whose server has sent an answer and closed them, as the guest has its
// half. The guest has not read it.
func (n *network) untaken(t *testing.T, number, answer int) (all []net.Conn) {
	served := make(chan bool, 1)
	to := serve(t, nettest.Server4+":0", func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		c.Write(make([]byte, answer))
		c.Close()
		served <- true
	})
	for range number {
		var c *net.TCPConn
		var err error
		n.Do(func() { c, err = dialSmall(to) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := errors.Join(c.SetDeadline(time.Now().Add(time.Minute)), c.CloseWrite()); err != nil {
			t.Fatal(err)
		}
		<-served
		for began := time.Now(); len(n.Flows()) > 0; time.Sleep(time.Millisecond) {
			if time.Since(began) > time.Minute {
				t.Fatal("the flow does not end")
			}
		}
		all = append(all, c)
	}
	return all
}

// dialSmall connects with a receive buffer that takes little of an answer.
func dialSmall(to string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: time.Minute, Control: func(_, _ string, raw syscall.RawConn) (err error) {
		raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10) })
		return err
	}}
	c, err := d.Dial("tcp", to)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// TestMalformed has frames of every kind of wrongness end nowhere.
func TestMalformed(t *testing.T) {
	n := newNetwork(t, nil)
	for _, frame := range seeds() {
		for cut := range len(frame) + 1 {
			n.link.deliver(bytes.Clone(frame[:cut]))
		}
	}
	if c := n.dial(t, "tcp", serve(t, nettest.Server4+":0", echo)); c == nil {
		t.Error("the network is gone")
	}
}

// seeds are a frame of each kind that a guest sends.
func seeds() (frames [][]byte) {
	eth := func(kind uint16, body ...[]byte) {
		f := make([]byte, vnetLen)
		f = append(append(f, address.GatewayMAC[:]...), address.GuestMAC[:]...)
		frames = append(frames, append(binary.BigEndian.AppendUint16(f, kind), bytes.Join(body, nil)...))
	}
	guest4, guest6 := address.Guest4.Addr().AsSlice(), address.Guest6.Addr().AsSlice()
	server4, server6 := netip.MustParseAddr(nettest.Server4).AsSlice(), netip.MustParseAddr(nettest.Server6).AsSlice()
	ip4 := func(proto byte, body []byte) []byte {
		return append(append(append([]byte{0x45, 0, 0, byte(20 + len(body)), 0, 1, 0, 0, 64, proto, 0, 0}, guest4...), server4...), body...)
	}
	ip6 := func(next byte, body []byte) []byte {
		return append(append(append([]byte{0x60, 0, 0, 0, 0, byte(len(body)), next, 64}, guest6...), server6...), body...)
	}
	tcp := []byte{0x12, 0x34, 0, 66, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4}
	udp := []byte{0x12, 0x34, 0, 66, 0, 12, 0, 0, 'n', 'o', 'i', 'd'}
	ping := []byte{8, 0, 0, 0, 0, 7, 0, 1, 'n', 'o', 'i', 'd'}
	for _, c := range []struct {
		proto byte
		body  []byte
	}{{6, tcp}, {17, udp}, {1, ping}, {58, append([]byte{128}, ping[1:]...)}, {58, append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, server6...)}, {58, []byte{133, 0, 0, 0, 0, 0, 0, 0}},
		{0, []byte{58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 0}}, {44, append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, udp...)}} {
		eth(0x0800, ip4(c.proto, c.body))
		eth(0x86dd, ip6(c.proto, c.body))
	}
	eth(0x0806, []byte{0, 1, 8, 0, 6, 4, 0, 1}, address.GuestMAC[:], guest4, make([]byte, 6), address.Gateway4.AsSlice())
	return frames
}

// FuzzFrame has any bytes be a frame. All that it leads to is refused, so that nothing is sent.
func FuzzFrame(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	n := newNetwork(f, func(c *Config) {
		c.Policy = &fakePolicy{nets: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
		c.Resolve = func(context.Context, []byte, string) []byte { return nil }
		c.Lease = func([]byte) []byte { return nil }
		c.Lease6 = c.Lease
	})
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) <= maxFrame {
			n.link.deliver(bytes.Clone(frame))
		}
	})
}

// soak makes so many connections and datagrams, eight at a time, and returns the descriptors, goroutines and bytes of
// the heap that are there after.
func soak(t testing.TB, n *network, tcp, udp string, count int) (goroutines int, heap uint64) {
	var all sync.WaitGroup
	n.Do(func() {}) // one thread is in the guest: what it does is one after the other
	for range 2 {
		all.Go(func() {
			for range count / 2 {
				c, err := n.try("tcp", tcp)
				if err != nil {
					t.Error(err)
					return
				}
				c.Write([]byte("x"))
				c.(*net.TCPConn).CloseWrite()
				io.ReadAll(c)
				c.Close()
				if c, err = n.try("udp", udp); err != nil {
					t.Error(err)
					return
				}
				c.Write([]byte("x"))
				c.Close()
			}
		})
	}
	all.Wait()
	for began := time.Now(); len(n.tcp.list()) > 0 && time.Since(began) < time.Minute; {
		time.Sleep(10 * time.Millisecond)
	}
	runtime.GC()
	return runtime.NumGoroutine(), Heap()
}

// TestSoak has thousands of flows leave nothing behind but the few that a table keeps.
func TestSoak(t *testing.T) {
	n := newNetwork(t, func(c *Config) { c.Limits = Limits{UDP: 64} })
	tcp, udp := serve(t, nettest.Server4+":0", echo), udpEcho(t, nettest.Server4+":0")
	soak(t, n, tcp, udp, 1000)
	goroutines, heap := soak(t, n, tcp, udp, 200)
	again, more := soak(t, n, tcp, udp, 3000)
	if again > goroutines+20 || more > heap+4<<20 {
		t.Errorf("%d goroutines became %d, %d KiB of heap became %d", goroutines, again, heap>>10, more>>10)
	}
}
