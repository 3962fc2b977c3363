package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"noid/internal/network"
	"noid/internal/network/address"
	"noid/internal/network/control"
	"noid/internal/network/lab"
)

// town is a home with a network, and VMs in it.
type town struct {
	t        *testing.T
	home     string
	networks string
}

func newTown(t *testing.T, networks ...string) *town {
	h := &town{t: t, home: t.TempDir()}
	h.networks = filepath.Join(h.home, "networks")
	must(t, os.MkdirAll(h.vm(""), 0o700))
	unlock, err := lab.Lock(t.Context(), h.networks)
	must(t, err)
	defer unlock()
	for _, name := range networks {
		_, err := lab.Create(h.networks, name)
		must(t, err)
	}
	t.Setenv(lab.Env, h.networks)
	return h
}

func (h *town) vm(name string) string { return filepath.Join(h.home, "vms", name) }

// on is a configuration with addresses on networks, as in "lab 10.63.1.1".
func on(mode network.Mode, members ...string) network.Config {
	c := network.Config{Mode: mode}
	for _, m := range members {
		name, a, _ := strings.Cut(m, " ")
		c.Networks = append(c.Networks, network.Member{Network: name, Addr: netip.MustParseAddr(a)})
	}
	return c
}

func (h *town) add(name string, c network.Config) *world {
	must(h.t, os.Mkdir(h.vm(name), 0o700))
	return newWorldIn(h.t, h.vm(name), c)
}

// set has the helper go by another configuration.
func (w *world) set(c network.Config) control.Answer {
	must(w.t, c.Save(w.dir))
	return w.ask(control.Request{Op: control.Reload})
}

// resolve is what the guest's resolver says of a name.
func (w *world) resolve(name string, kind uint16) (addrs []string, code int) {
	w.t.Helper()
	c, err := w.dial("udp", address.Gateway4.String()+":53")
	must(w.t, err)
	q := new(dns.Msg)
	q.SetQuestion(name+".", kind)
	conn := &dns.Conn{Conn: c}
	must(w.t, conn.WriteMsg(q))
	a, err := conn.ReadMsg()
	must(w.t, err)
	for _, rr := range a.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			addrs = append(addrs, rr.A.String())
		case *dns.AAAA:
			addrs = append(addrs, rr.AAAA.String())
		}
	}
	return addrs, a.Rcode
}

// finds waits until the guest's resolver says that.
func (w *world) finds(name, want string) {
	w.t.Helper()
	var got []string
	for range 1000 {
		if got, _ = w.resolve(name, dns.TypeA); strings.Join(got, " ") == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("%s is %v, want %q", name, got, want)
}

// serve has a server in the guest serve each connection.
func (w *world) serve(at string, each func(*net.TCPConn)) {
	var l net.Listener
	var err error
	w.Do(func() { l, err = net.Listen("tcp", at) })
	must(w.t, err)
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go each(c.(*net.TCPConn))
		}
	}()
}

// back says who talks, then what it was told, once the client is done.
func back(c *net.TCPConn) {
	defer c.Close()
	data, _ := io.ReadAll(c)
	fmt.Fprintf(c, "%s %s", c.RemoteAddr().(*net.TCPAddr).IP, data)
}

func ask(c net.Conn, text string) (string, error) {
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	c.(*net.TCPConn).CloseWrite()
	all, err := io.ReadAll(c)
	return string(all), err
}

const one, two, two6 = "10.63.1.1", "10.63.1.2", "[fd63:6e6f:6964:1::2]"

// TestPeers has two VMs on a network reach each other, by name and by each protocol, whatever else they may reach; and
// nobody else reach them.
func TestPeers(t *testing.T) {
	h := newTown(t, "lab", "other")
	a := h.add("a", on(network.None, "lab "+one))
	b := h.add("Db", on(network.Default, "lab "+two))
	c := h.add("c", on(network.Open, "other 10.63.2.1"))
	b.serve("0.0.0.0:80", back)
	b.serve("[::]:81", back)
	a.finds("db", two)
	a.finds("Db.LAB", two)
	b.finds("a", one)
	if got, _ := a.resolve("db", dns.TypeAAAA); strings.Join(got, " ") != strings.Trim(two6, "[]") {
		t.Errorf("over IPv6 db is %v", got)
	}
	if got, code := c.resolve("db", dns.TypeA); len(got) > 0 {
		t.Errorf("not on the network, db is %v (%d)", got, code)
	}
	if _, code := a.resolve("example.com", dns.TypeA); code != dns.RcodeRefused {
		t.Errorf("a name of the internet: %d", code)
	}
	for to, want := range map[string]string{two + ":80": one + " hello", two6 + ":81": "fd63:6e6f:6964:1::1 hello"} {
		conn, err := a.dial("tcp", to)
		must(t, err)
		if got, err := ask(conn, "hello"); got != want || err != nil {
			t.Errorf("%s: %q, %v", to, got, err)
		}
	}
	big := strings.Repeat("0123456789abcdef", 1<<18)
	conn, err := a.dial("tcp", two+":80")
	must(t, err)
	if got, err := ask(conn, big); got != one+" "+big || err != nil {
		t.Errorf("of %d bytes %d came back, %v", len(big), len(got), err)
	}
	for _, w := range []struct {
		*world
		to string
	}{{a, two + ":82"}, {a, two6 + ":82"}, {a, "10.63.1.9:80"}, {c, two + ":80"}, {a, server + ":80"}, {c, "10.63.2.1:80"}} {
		began := time.Now()
		if _, err := w.dial("tcp", w.to); !errors.Is(err, unix.ECONNREFUSED) && !(w.world == c && err != nil) {
			t.Errorf("%s: %v after %s", w.to, err, time.Since(began))
		}
	}
	for to, want := range map[string]error{two: nil, strings.Trim(two6, "[]"): nil, "10.63.1.9": unix.EHOSTUNREACH} {
		if err := a.ping(to); err != want && !errors.Is(err, want) {
			t.Errorf("ping %s: %v, want %v", to, err, want)
		}
	}
}

// ping sends a ping from the guest, and returns what came of it.
func (w *world) ping(to string) (err error) {
	w.Do(func() {
		family, proto, kind := unix.AF_INET, unix.IPPROTO_ICMP, byte(8)
		a := netip.MustParseAddr(to)
		if a.Is6() {
			family, proto, kind = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128
		}
		var fd int
		if fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto); err != nil {
			return
		}
		defer unix.Close(fd)
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60})
		var sa unix.Sockaddr = &unix.SockaddrInet6{Addr: a.As16()}
		if a.Is4() {
			sa = &unix.SockaddrInet4{Addr: a.As4()}
		}
		if err = unix.Connect(fd, sa); err != nil {
			return
		}
		buf := make([]byte, 100)
		var n int
		if _, err = unix.Write(fd, append([]byte{kind, 0, 0, 0, 0, 0, 0, 7}, "noid"...)); err == nil {
			n, err = unix.Read(fd, buf)
		}
		if err == nil && string(buf[6:n]) != "\x00\x07noid" {
			err = fmt.Errorf("answer %q", buf[:n])
		}
	})
	return err
}

// TestPeersDatagrams: datagrams stay whole, an empty one too, and the answers find their way.
func TestPeersDatagrams(t *testing.T) {
	h := newTown(t, "lab")
	a, b := h.add("a", on(network.Default, "lab "+one)), h.add("b", on(network.Default, "lab "+two))
	var pc net.PacketConn
	var err error
	b.Do(func() { pc, err = net.ListenPacket("udp", "0.0.0.0:53") }) // noid answers no queries to a VM
	must(t, err)
	defer pc.Close()
	froms := make(chan net.Addr, 100)
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			froms <- from
			pc.WriteTo(buf[:n], from)
		}
	}()
	b.finds("a", one)
	a.finds("b", two)
	c, err := a.dial("udp", two+":53")
	must(t, err)
	for _, text := range []string{"hello", "", strings.Repeat("x", 60000)} {
		_, err := io.WriteString(c, text)
		must(t, err)
		buf := make([]byte, 64<<10)
		n, err := c.Read(buf)
		if err != nil || string(buf[:n]) != text {
			t.Errorf("of %d bytes came %d: %v", len(text), n, err)
		}
		if from := (<-froms).String(); from != one+":"+port(c.LocalAddr()) {
			t.Errorf("from %s", from)
		}
	}
	if flows := b.ask(control.Request{Op: control.Flows}).Flows; len(flows) != 1 || !flows[0].Inbound || flows[0].Remote.Addr().String() != one {
		t.Errorf("flows %+v", flows)
	}
	for _, to := range []string{two + ":54", two6 + ":54"} {
		refused, err := a.dial("udp", to)
		must(t, err)
		io.WriteString(refused, "x")
		if _, err := refused.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("nobody is at %s: %v", to, err)
		}
	}
	// The other helper is killed, and is back.
	must(t, b.helper.Process.Kill())
	<-b.ended
	b.start()
	a.finds("b", two)
	for range 1000 { // the first datagrams may be lost
		io.WriteString(c, "again")
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		buf := make([]byte, 10)
		if n, err := c.Read(buf); err == nil && string(buf[:n]) == "again" {
			return
		}
	}
	t.Error("no answer after the other helper was killed")
}

func port(a net.Addr) string {
	_, p, _ := net.SplitHostPort(a.String())
	return p
}

// TestPeersEnd: a connection ends as that of one kernel to another would, whoever ends it.
func TestPeersEnd(t *testing.T) {
	h := newTown(t, "lab")
	a, b := h.add("a", on(network.Default, "lab "+one)), h.add("b", on(network.Default, "lab "+two))
	served := make(chan *net.TCPConn, 10)
	b.serve("0.0.0.0:80", func(c *net.TCPConn) { served <- c })
	a.finds("b", two)
	b.finds("b", two)
	open := func() (near net.Conn, far *net.TCPConn) {
		t.Helper()
		c, err := a.dial("tcp", two+":80")
		must(t, err)
		must(t, func() error { _, err := io.WriteString(c, "x"); return err }())
		far = <-served
		far.SetDeadline(time.Now().Add(time.Minute))
		_, err = io.ReadFull(far, make([]byte, 1))
		must(t, err)
		return c, far
	}
	reset := func(c net.Conn, what string) {
		t.Helper()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%s: %v", what, err)
		}
	}
	near, far := open()
	near.(*net.TCPConn).SetLinger(0)
	near.Close()
	reset(far, "who opened it has reset it")
	near, far = open()
	far.SetLinger(0)
	far.Close()
	reset(near, "the server has reset it")
	near, far = open()
	must(t, far.CloseWrite())
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the server's half is closed: %v", err)
	}
	io.WriteString(near, "y")
	near.Close()
	if got, err := io.ReadAll(far); string(got) != "y" || err != nil {
		t.Errorf("the other half: %q, %v", got, err)
	}
	self, err := b.dial("tcp", two+":80") // to itself
	must(t, err)
	if from := (<-served).RemoteAddr().(*net.TCPAddr).IP.String(); from != two {
		t.Errorf("from itself it is %s", from)
	}
	self.Close()

	near, _ = open()
	must(t, b.helper.Process.Kill())
	<-b.ended
	reset(near, "the server's helper is killed")
	b.start()
	a.finds("b", two)
	near, far = open()
	if a := a.set(on(network.Default)); a.Cut != 1 {
		t.Errorf("disconnected: cut %d", a.Cut)
	}
	reset(near, "this vm is disconnected")
	reset(far, "and its flow at the other vm")
	if _, err := a.dial("tcp", two+":80"); err == nil {
		t.Error("a vm that is not on the network any more reaches one that is")
	}
	a.set(on(network.Default, "lab "+one))
	near, far = open()
	if a := b.set(on(network.Default)); a.Cut != 1 {
		t.Errorf("the server disconnected: cut %d", a.Cut)
	}
	reset(near, "the server is disconnected")
	reset(far, "and its flow there")
	a.finds("b", "")
}

// TestPeersRules: rules that deny hold between VMs; those that allow have no say.
func TestPeersRules(t *testing.T) {
	h := newTown(t, "lab")
	c := on(network.Default, "lab "+one)
	c.Allow, c.Deny = []string{server}, []string{two + ":81"}
	a, b := h.add("a", c), h.add("b", on(network.Default, "lab "+two))
	b.serve("0.0.0.0:80", back)
	b.serve("0.0.0.0:81", back)
	a.finds("b", two)
	conn, err := a.dial("tcp", two+":80")
	must(t, err)
	if got, err := ask(conn, "hello"); got != one+" hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := a.dial("tcp", two+":81"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a denied port: %v", err)
	}
}

// TestPublished: a VM is found by the name that its directory has now, and not while it is made or removed.
func TestPublished(t *testing.T) {
	h := newTown(t, "lab", "other")
	a := h.add("a", on(network.Default))
	staging := filepath.Join(h.home, "staging", ".new-b-1")
	must(t, os.MkdirAll(staging, 0o700))
	b := newWorldIn(t, staging, on(network.Default, "lab "+two))
	if got, _ := a.resolve("b", dns.TypeA); len(got) > 0 {
		t.Errorf("not connected: b is %v", got)
	}
	a.set(on(network.Default, "lab "+one, "other 10.63.2.1")) // its helper was started before
	if got, _ := a.resolve("b", dns.TypeA); len(got) > 0 {
		t.Errorf("while it is made, b is %v", got)
	}
	must(t, os.Rename(staging, h.vm("b")))
	a.finds("b", two)
	must(t, os.Rename(h.vm("b"), h.vm("c")))
	a.finds("c", two)
	a.finds("b", "")
	// Another VM takes its place, with its address, as in a restore.
	must(t, os.Mkdir(staging, 0o700))
	next := newWorldIn(t, staging, on(network.Default, "lab "+two))
	next.serve("0.0.0.0:80", back)
	must(t, unix.Renameat2(unix.AT_FDCWD, staging, unix.AT_FDCWD, h.vm("c"), unix.RENAME_EXCHANGE))
	a.finds("c", two)
	b.vmm.Process.Kill()
	<-b.ended
	a.finds("c", two)
	conn, err := a.dial("tcp", two+":80")
	must(t, err)
	if got, err := ask(conn, "hello"); got != one+" hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	next.vmm.Process.Kill()
	<-next.ended
	a.finds("c", "")
	entries, err := os.ReadDir(h.networks)
	must(t, err)
	if len(entries) != 4 { // .lock, two networks, the inbox of a
		t.Errorf("left are %v", entries)
	}
}

// TestPeersFlood: of a VM's flows to another one, none takes the place of that one's own.
func TestPeersFlood(t *testing.T) {
	h := newTown(t, "lab")
	c := on(network.Default, "lab "+two)
	c.Allow = []string{server}
	a, b := h.add("a", on(network.Default, "lab "+one)), h.add("b", c)
	var pc net.PacketConn
	var err error
	b.Do(func() { pc, err = net.ListenPacket("udp", "0.0.0.0:99") })
	must(t, err)
	defer pc.Close()
	l, err := listen(server + ":0")
	kept := echo(t, l, err)
	own, err := b.dial("tcp", kept)
	must(t, err)
	u, err := b.dial("udp", server+":9")
	must(t, err)
	io.WriteString(u, "x")
	a.finds("b", two)
	for range 3000 {
		var c net.Conn
		a.Do(func() { c, err = net.Dial("udp", two+":99") })
		must(t, err)
		io.WriteString(c, "x")
		c.Close()
	}
	must(t, says(own, "hello"))
	flows := b.ask(control.Request{Op: control.Flows}).Flows
	peers := 0
	for _, f := range flows {
		if f.Inbound {
			peers++
		}
	}
	if peers == 0 || peers > 512 || len(flows) != peers+2 {
		t.Errorf("%d flows of another vm, %d in all", peers, len(flows))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := b.control.Ask(ctx, control.Request{Op: control.Status}); err != nil {
		t.Error(err)
	}
}
