package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"noid/internal/network"
	"noid/internal/network/address"
	"noid/internal/network/control"
	"noid/internal/network/lab"
	"noid/internal/network/nettest"
	"noid/internal/proc"
	"noid/internal/vmm"
)

// confEnv makes this test binary a network helper that has another resolv.conf.
const confEnv = "NOID_TEST_RESOLV_CONF"

func TestMain(m *testing.M) {
	if conf := os.Getenv(confEnv); conf != "" {
		resolvConf, private = conf, filepath.Dir(conf)
		tellGoroutines()
		tryAll()
		if err := Run(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	nettest.Main(m)
}

// server is an address of the tests' internet, and other another one. Neither is this host's own.
const server, other = "198.51.100.2", "198.51.100.3"

// world is a VM's directory, with a VMM of which only the process is real, a guest, and a helper.
type world struct {
	*nettest.Guest
	t       testing.TB
	dir     string
	conf    string // this host's resolv.conf
	vmm     *exec.Cmd
	args    []string
	helper  *exec.Cmd
	ended   chan error
	control control.Client
	link    *os.File
}

func newWorld(t testing.TB, c network.Config) *world { return newWorldIn(t, t.TempDir(), c) }

// newWorldIn is newWorld for a VM with that directory.
func newWorldIn(t testing.TB, dir string, c network.Config) *world {
	w := &world{Guest: nettest.NewGuest(t), t: t, dir: dir, conf: filepath.Join(t.TempDir(), "resolv.conf"), vmm: exec.Command("sleep", "1000")}
	w.link = os.NewFile(uintptr(w.FD), "link")
	w.vmm.Dir = w.dir
	must(t, w.vmm.Start())
	t.Cleanup(func() { w.vmm.Process.Kill(); w.vmm.Wait() })
	p, err := proc.Identify(w.vmm.Process.Pid)
	must(t, err)
	w.args = p.Args()
	must(t, c.Save(w.dir))
	w.control = control.Client{Dial: func(ctx context.Context) (net.Conn, error) {
		return vmm.Dial(ctx, w.dir, network.ControlSocket)
	}}
	w.start()
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a helper, as a helper of noid's does.
func (w *world) start() {
	must(w.t, os.WriteFile(w.conf, []byte("nameserver "+other+"\n"), 0o600))
	ours, theirs, err := control.ConfPipe(w.conf)
	must(w.t, err)
	w.t.Cleanup(func() { ours.Close() })
	defer theirs.Close()
	lock, err := os.Create(filepath.Join(w.dir, "net.lock"))
	must(w.t, err)
	defer lock.Close()
	cmd := exec.Command("/proc/self/exe", w.args...)
	cmd.Dir, cmd.Stderr, cmd.ExtraFiles = w.dir, os.Stderr, []*os.File{w.link, lock, theirs}
	cmd.Env = append(os.Environ(), confEnv+"="+w.conf)
	if os.Getenv(lab.Env) == "" { // noid tells each helper of networks
		cmd.Env = append(cmd.Env, lab.Env+"="+w.t.TempDir())
	}
	must(w.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	w.helper, w.ended = cmd, ended
	w.t.Cleanup(func() { cmd.Process.Kill() })
	w.ask(control.Request{Op: control.Status})
}

func (w *world) ask(r control.Request) control.Answer {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	a, err := w.control.Ask(ctx, r)
	must(w.t, err)
	return a
}

func (w *world) dial(proto, to string) (c net.Conn, err error) {
	w.Do(func() { c, err = net.DialTimeout(proto, to, time.Minute) })
	if err == nil {
		w.t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
	}
	return c, err
}

// echo is a TCP server that sends back what it gets.
func echo(t *testing.T, l net.Listener, err error) string {
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	return l.Addr().String()
}

func says(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	back := make([]byte, len(text))
	if _, err := io.ReadFull(c, back); err != nil || string(back) != text {
		return fmt.Errorf("%q came back: %w", back, err)
	}
	return nil
}

func listen(at string) (net.Listener, error) { return net.Listen("tcp", at) }

// TestPolicy has what a configuration allows work, and what the next one does not allow end, at once.
func TestPolicy(t *testing.T) {
	l, err := listen(server + ":0")
	to := echo(t, l, err)
	w := newWorld(t, network.Config{Mode: network.Default, Allow: []string{server}})
	c, err := w.dial("tcp", to)
	must(t, err)
	must(t, says(c, "hello"))
	if _, err := w.dial("tcp", nettest.Server4+":80"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("this host: %v", err)
	}
	flows := w.ask(control.Request{Op: control.Flows}).Flows
	if len(flows) != 1 || flows[0].Remote.String() != to || flows[0].Sent != 5 || flows[0].Got != 5 {
		t.Errorf("flows %+v", flows)
	}
	must(t, network.Config{Mode: network.Default, Deny: []string{server}}.Save(w.dir))
	if a := w.ask(control.Request{Op: control.Reload}); a.Cut != 1 {
		t.Errorf("reload: %+v", a)
	}
	if err := says(c, "hello?"); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		t.Errorf("a flow that is no longer allowed: %v", err)
	}
	state := w.ask(control.Request{Op: control.Status}).Status
	if state.PID != w.helper.Process.Pid || state.Refused != 1 || state.Sent != 5 || state.Got != 5 || state.Flows != 0 || state.Memory == 0 || !state.Ping {
		t.Errorf("status %+v", state)
	}
	log, err := os.ReadFile(filepath.Join(w.dir, network.HelperDir, network.LogFile))
	must(t, err)
	var entry Entry
	if err := json.Unmarshal(bytes.TrimSpace(log), &entry); err != nil || entry.Event != "refused" || entry.To != nettest.Server4+":80" || entry.Why == "" {
		t.Errorf("log %s: %v", log, err)
	}
}

// TestNeighbors: what the guest sends to an address of its own link that nobody has is refused.
func TestNeighbors(t *testing.T) {
	w := newWorld(t, network.Config{Mode: network.Default})
	for _, to := range []string{"10.63.0.77:81", "[fd63:6e6f:6964::77]:81", "[fe80::2%eth0]:81", "[fe80::1%eth0]:81"} {
		if _, err := w.dial("tcp", to); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("tcp %s: %v", to, err)
		}
		c, err := w.dial("udp", to)
		must(t, err)
		if err := says(c, "hello"); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("udp %s: %v", to, err)
		}
	}
	if out, err := w.Run("ip", "-6", "address", "add", "fd63:6e6f:6964::78/64", "dev", "eth0"); err != nil {
		t.Fatal(out)
	}
	for again := true; again; { // until it is looked for, and nobody has it
		out, err := w.Run("ip", "-6", "address", "show", "dev", "eth0")
		must(t, err)
		if strings.Contains(out, "dadfailed") {
			t.Fatalf("the guest's own address is another's: %s", out)
		}
		again = strings.Contains(out, "tentative")
	}
}

// TestHostTakesAddress has this host take an address that the guest talks to: the flow ends, though the guest opens no
// other one.
func TestHostTakesAddress(t *testing.T) {
	const at = "198.51.100.77"
	u, err := net.ListenPacket("udp", at+":7")
	must(t, err)
	defer u.Close()
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			u.WriteTo(buf[:n], from)
		}
	}()
	w := newWorld(t, network.Config{Mode: network.Open})
	c, err := w.dial("udp", at+":7")
	must(t, err)
	must(t, says(c, "hello"))
	must(t, nettest.IP("addr add "+at+"/32 dev lo"))
	defer nettest.IP("addr del " + at + "/32 dev lo")
	for len(w.ask(control.Request{Op: control.Flows}).Flows) > 0 {
		time.Sleep(time.Millisecond) // until the test's own time is over
	}
	if err := says(c, "hello?"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("an address that is this host's now: %v", err)
	}
}

// TestPorts adds ports and takes them away on a running guest, by TCP and UDP.
func TestPorts(t *testing.T) {
	w := newWorld(t, network.Config{Mode: network.Default})
	var l net.Listener
	var u net.PacketConn
	var err, uerr error
	w.Do(func() {
		l, err = net.Listen("tcp", "0.0.0.0:80")
		u, uerr = net.ListenPacket("udp", "0.0.0.0:53")
	})
	echo(t, l, err)
	must(t, uerr)
	defer u.Close()
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			u.WriteTo(buf[:n], from)
		}
	}()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	ports := []network.Port{{Proto: "tcp", Host: netip.MustParseAddrPort("127.0.0.1:8080"), Guest: 80}, {Proto: "tcp", Host: netip.MustParseAddrPort("[::1]:8080"), Guest: 80},
		{Proto: "udp", Host: netip.MustParseAddrPort("127.0.0.1:8053"), Guest: 53}, {Proto: "tcp", Host: netip.MustParseAddrPort(taken.Addr().String()), Guest: 80}}
	must(t, network.Config{Mode: network.Default, Ports: ports}.Save(w.dir))
	a := w.ask(control.Request{Op: control.Reload})
	problems := 0
	for _, p := range a.Ports {
		if p.Problem != "" {
			problems++
			if p.Host.String() != taken.Addr().String() || p.Problem != "address already in use" {
				t.Errorf("%+v", p)
			}
		}
	}
	if len(a.Ports) != 4 || problems != 1 {
		t.Errorf("ports %+v", a.Ports)
	}
	var open []net.Conn
	for _, at := range []string{"tcp 127.0.0.1:8080", "tcp [::1]:8080", "udp 127.0.0.1:8053"} {
		proto, to, _ := strings.Cut(at, " ")
		c, err := net.Dial(proto, to)
		must(t, err)
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		if err := says(c, "by "+at); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		open = append(open, c)
	}
	must(t, network.Config{Mode: network.Default}.Save(w.dir))
	w.ask(control.Request{Op: control.Reload})
	if _, err := net.Dial("tcp", "127.0.0.1:8080"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a port that was taken away: %v", err)
	}
	if err := says(open[0], "still"); err != nil {
		t.Errorf("a connection that there was: %v", err)
	}
}

// TestTakenPorts has a helper listen on a port that another had when it started, as soon as it is free: so a VM that is
// restored in place gets its ports, whatever becomes of noid.
func TestTakenPorts(t *testing.T) {
	one := newWorld(t, network.Config{Mode: network.Default, Ports: []network.Port{{Proto: "tcp", Host: netip.MustParseAddrPort("127.0.0.1:8090"), Guest: 80},
		{Proto: "udp", Host: netip.MustParseAddrPort("127.0.0.1:8090"), Guest: 80}}})
	c, err := network.Load(one.dir)
	must(t, err)
	two := newWorld(t, c)
	for _, p := range two.ask(control.Request{Op: control.Status}).Ports {
		if p.Problem == "" {
			t.Errorf("%s is listened on twice", p)
		}
	}
	must(t, one.vmm.Process.Kill())
	one.vmm.Wait()
	<-one.ended
	var l net.Listener
	two.Do(func() { l, err = net.Listen("tcp", "0.0.0.0:80") })
	echo(t, l, err)
	for taken := func(p control.Port) bool { return p.Problem != "" }; slices.ContainsFunc(two.ask(control.Request{Op: control.Status}).Ports, taken); {
		time.Sleep(10 * time.Millisecond) // until the test's own time is over
	}
	conn, err := net.Dial("tcp", "127.0.0.1:8090")
	must(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	must(t, says(conn, "hello"))
}

// TestForward has ports for as long as who asked for them holds the connection, to a server on the guest's loopback,
// by way of the guest's agent.
func TestForward(t *testing.T) {
	w := newWorld(t, network.Config{Mode: network.None})
	agent(t, w)
	var l net.Listener
	var err error
	w.Do(func() { l, err = net.Listen("tcp", "127.0.0.1:5432") })
	echo(t, l, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, conn, err := w.control.Hold(ctx, control.Request{Op: control.Forward, Ports: []network.Port{{Proto: "tcp", Host: netip.MustParseAddrPort("127.0.0.1:0"), Guest: 5432}}})
	must(t, err)
	if len(a.Ports) != 1 || a.Ports[0].Host.Port() == 0 {
		t.Fatalf("%+v", a)
	}
	at := a.Ports[0].Host.String()
	c, err := net.Dial("tcp", at)
	must(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	must(t, says(c, "hello"))
	conn.Close()
	for { // until the helper has seen that
		c, err := net.Dial("tcp", at)
		if errors.Is(err, unix.ECONNREFUSED) {
			break
		}
		if err == nil {
			c.Close()
		}
	}
}

// TestHeld answers requests while more ports are forwarded than are answered at a time, and refuses what is too many.
func TestHeld(t *testing.T) {
	w := newWorld(t, network.Config{Mode: network.None})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range maxHeld {
		_, conn, err := w.control.Hold(ctx, control.Request{Op: control.Forward})
		must(t, err)
		defer conn.Close()
	}
	w.ask(control.Request{Op: control.Reload})
	_, conn, err := w.control.Hold(ctx, control.Request{Op: control.Broker})
	must(t, err)
	conn.Close()
	if _, conn, err := w.control.Hold(ctx, control.Request{Op: control.Forward}); err == nil || !strings.Contains(err.Error(), "at once") {
		t.Errorf("one more: %v", err)
		if conn != nil {
			conn.Close()
		}
	}
}

// agent is the part of noid's agent that connects the host to servers on the guest's loopback.
func agent(t *testing.T, w *world) {
	var l net.Listener
	var err error
	w.Do(func() { l, err = net.Listen("tcp", fmt.Sprintf("%s:%d", address.Guest4.Addr(), address.RelayPort)) })
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var port int
				if _, err := fmt.Fscanf(c, "%d\n", &port); err != nil {
					return
				}
				var inner net.Conn
				w.Do(func() { inner, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)) })
				if err != nil || inner == nil {
					return
				}
				defer inner.Close()
				go io.Copy(inner, c)
				io.Copy(c, inner)
			}()
		}
	}()
}

// TestNames has rules about a domain hold for what the resolver told the guest, over UDP and TCP.
func TestNames(t *testing.T) {
	l, err := listen(server + ":0")
	to := echo(t, l, err)
	resolve(t, other, server)
	w := newWorld(t, network.Config{Mode: network.Open, Allow: []string{"a.example"}})
	if _, err := w.dial("tcp", to); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("before it is resolved: %v", err)
	}
	for _, proto := range []string{"udp", "tcp"} {
		for name, want := range map[string]int{"b.example.": dns.RcodeRefused, "a.example.": dns.RcodeSuccess} {
			if m := w.lookUp(proto, name); m.Rcode != want || len(m.Answer) != 1-want/dns.RcodeRefused {
				t.Errorf("%s by %s: %v", name, proto, m)
			}
		}
	}
	c, err := w.dial("tcp", to)
	must(t, err)
	must(t, says(c, "hello"))
	w.ask(control.Request{Op: control.Reload}) // which forgets nothing
	must(t, says(c, "hello again"))

	w.helper.Process.Kill() // the guest knows the address, and asks nobody again
	<-w.ended
	w.start()
	c, err = w.dial("tcp", to)
	if err != nil {
		t.Fatalf("with another helper: %v", err)
	}
	must(t, says(c, "hello"))
	must(t, network.Config{Mode: network.Open, Allow: []string{"b.example"}}.Save(w.dir))
	w.ask(control.Request{Op: control.Reload})
	if names := network.LoadNames(w.dir); names != nil {
		t.Errorf("names that no rule is about are kept: %v", names)
	}
	if _, err := w.dial("tcp", to); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after the rule is gone: %v", err)
	}
}

// resolve has a resolver at an address answer all questions with another one.
func resolve(t *testing.T, at, with string) {
	pc, err := net.ListenPacket("udp", at+":53")
	must(t, err)
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A " + with)
		m.Answer = []dns.RR{rr}
		rw.WriteMsg(m)
	})}
	go s.ActivateAndServe()
	t.Cleanup(func() {
		s.Shutdown()
		pc.Close() // a server that has not started yet closes nothing
	})
}

// lookUp asks the gateway for a name's address.
func (w *world) lookUp(proto, name string) *dns.Msg {
	c, err := w.dial(proto, address.Gateway4.String()+":53")
	must(w.t, err)
	conn := &dns.Conn{Conn: c}
	must(w.t, conn.WriteMsg(new(dns.Msg).SetQuestion(name, dns.TypeA)))
	m, err := conn.ReadMsg()
	must(w.t, err)
	return m
}

// TestResolvers has a helper follow this host's resolv.conf, which is replaced by a rename in a directory that it may not
// read, and becomes a link.
func TestResolvers(t *testing.T) {
	resolve(t, other, "192.0.2.1")
	resolve(t, nettest.Server4, "192.0.2.2")
	resolve(t, server, "192.0.2.3")
	w := newWorld(t, network.Config{Mode: network.Default})
	is := func(want string) {
		t.Helper()
		m := w.lookUp("udp", "a.example.")
		if a, ok := append(m.Answer, nil)[0].(*dns.A); !ok || a.A.String() != want {
			t.Errorf("the answer is %v, want %s", m, want)
		}
	}
	is("192.0.2.1")
	must(t, os.WriteFile(w.conf+".new", []byte("nameserver "+nettest.Server4+"\n"), 0o600))
	must(t, os.Rename(w.conf+".new", w.conf))
	is("192.0.2.2")
	elsewhere := filepath.Join(t.TempDir(), "stub")
	must(t, os.WriteFile(elsewhere, []byte("nameserver "+server+"\n"), 0o600))
	must(t, errors.Join(os.Symlink(elsewhere, w.conf+".new"), os.Rename(w.conf+".new", w.conf)))
	is("192.0.2.3")
}

// TestEnd has a helper end with its VMM.
func TestEnd(t *testing.T) {
	w := newWorld(t, network.Config{Mode: network.Default})
	must(t, w.vmm.Process.Kill())
	w.vmm.Wait()
	if err := <-w.ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestKilled has the next helper be told of the flows by nobody: connections that the guest has are reset when it uses
// them, and new ones work.
func TestKilled(t *testing.T) {
	l, err := listen(server + ":0")
	to := echo(t, l, err)
	w := newWorld(t, network.Config{Mode: network.Default, Allow: []string{server}})
	c, err := w.dial("tcp", to)
	must(t, err)
	must(t, says(c, "hello"))
	w.helper.Process.Kill()
	<-w.ended
	w.start()
	if err := says(c, "hello?"); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("a connection of before: %v", err)
	}
	c, err = w.dial("tcp", to)
	must(t, err)
	must(t, says(c, "hello"))
}

// TestRestored has a guest learn that connections of before its restore are gone, though it says nothing on them.
func TestRestored(t *testing.T) {
	l, err := listen(server + ":0")
	to := echo(t, l, err)
	w := newWorld(t, network.Config{Mode: network.Default, Allow: []string{server}})
	c, err := w.dial("tcp", to)
	must(t, err)
	must(t, says(c, "hello"))
	flows := w.ask(control.Request{Op: control.Flows}).Flows
	w.helper.Process.Kill()
	<-w.ended
	data, err := json.Marshal(flows)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(w.dir, network.HelperDir, network.FlowsFile), data, 0o600))
	w.start()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("an idle connection of before: %v", err)
	}
	if _, err := os.Stat(filepath.Join(w.dir, network.HelperDir, network.FlowsFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of flows is left: %v", err)
	}
}
