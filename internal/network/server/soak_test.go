package server

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"noid/internal/network"
	"noid/internal/network/address"
	"noid/internal/network/control"
)

// goroutinesFile has the number of a helper's goroutines, once it is sent SIGUSR1.
const goroutinesFile = network.HelperDir + "/goroutines"

// tellGoroutines has this process, a helper, write it. The garbage is collected first: what is left is in use.
func tellGoroutines() {
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, unix.SIGUSR1)
	go func() {
		for range ask {
			debug.FreeOSMemory()
			os.WriteFile(goroutinesFile+".new", fmt.Append(nil, runtime.NumGoroutine()), 0o600)
			os.Rename(goroutinesFile+".new", goroutinesFile)
		}
	}()
}

// size is what a helper takes when nothing goes on in it.
type size struct {
	goroutines, files int
	memory            int64 // bytes, resident
}

func (w *world) size() size {
	w.t.Helper()
	for _, mode := range []network.Mode{network.None, network.Open} { // which cuts all flows
		must(w.t, network.Config{Mode: mode}.Save(w.dir))
		w.ask(control.Request{Op: control.Reload})
	}
	os.Remove(w.dir + "/" + goroutinesFile)
	must(w.t, w.helper.Process.Signal(unix.SIGUSR1))
	var told []byte
	for told == nil {
		time.Sleep(10 * time.Millisecond)
		told, _ = os.ReadFile(w.dir + "/" + goroutinesFile)
	}
	goroutines, err := strconv.Atoi(string(told))
	must(w.t, err)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.helper.Process.Pid))
	must(w.t, err)
	return size{goroutines, len(files), w.ask(control.Request{Op: control.Status}).Status.Memory}
}

// TestSoak has a helper take connections, DNS queries and datagrams: then it is as large as after the first tenth of them.
// With NOID_TEST_SOAK they are so many of each, in ten minutes.
func TestSoak(t *testing.T) {
	each, lasts := 1000, time.Duration(0)
	if n, err := strconv.Atoi(os.Getenv("NOID_TEST_SOAK")); err == nil {
		each, lasts = n, 10*time.Minute
	}
	l, err := listen(server + ":0")
	to := echo(t, l, err)
	datagrams := udpEcho(t)
	pc, err := net.ListenPacket("udp", other+":53")
	must(t, err)
	names := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		rr, _ := dns.NewRR(q.Question[0].Name + " 1 IN A " + server)
		m.Answer = []dns.RR{rr}
		rw.WriteMsg(m)
	})}
	go names.ActivateAndServe()
	defer names.Shutdown()
	w := newWorld(t, network.Config{Mode: network.Open})
	var failed atomic.Int64
	round := func(i int) {
		for what, do := range map[string]func() error{
			"tcp " + to: func() error { return w.once("tcp", to) }, "udp " + datagrams: func() error { return w.once("udp", datagrams) },
			"dns": func() error { return w.query(fmt.Sprintf("n%d.example.", i)) }} {
			if err := do(); err != nil && failed.Add(1) < 10 {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	rounds := func(from, to int, lasts time.Duration) {
		var all sync.WaitGroup
		next := make(chan int)
		for range 8 {
			all.Go(func() {
				for i := range next {
					round(i)
				}
			})
		}
		began := time.Now()
		for i := from; i < to; i++ {
			time.Sleep(time.Until(began.Add(lasts * time.Duration(i-from) / time.Duration(to-from))))
			next <- i
		}
		close(next)
		all.Wait()
	}
	began := time.Now()
	idle := w.size()
	rounds(0, each/10, lasts/10)
	first := w.size()
	rounds(each/10, each, lasts*9/10)
	took := time.Since(began)
	last := w.size()
	t.Logf("%d each of connections, datagrams and queries in %v: %+v at first, %+v after the first tenth, %+v at the end", each, took.Round(time.Second), idle, first, last)
	if last.goroutines > first.goroutines+5 || last.files > first.files+5 || last.memory > first.memory+first.memory/4+2<<20 {
		t.Errorf("it grows: %+v, %+v", first, last)
	}
}

// once has the guest say something and get it back on a connection of its own.
func (w *world) once(proto, to string) error {
	c, err := w.connect(proto, to)
	if err != nil {
		return err
	}
	defer c.Close()
	return says(c, "hello")
}

func (w *world) query(name string) error {
	c, err := w.connect("udp", address.Gateway4.String()+":53")
	if err != nil {
		return err
	}
	defer c.Close()
	conn := &dns.Conn{Conn: c}
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion(name, dns.TypeA)); err != nil {
		return err
	}
	m, err := conn.ReadMsg()
	if err == nil && (m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1) {
		err = fmt.Errorf("%v", m)
	}
	return err
}

// connect is dial, for many.
func (w *world) connect(proto, to string) (c net.Conn, err error) {
	w.Do(func() { c, err = net.DialTimeout(proto, to, time.Minute) })
	if err == nil {
		c.SetDeadline(time.Now().Add(time.Minute))
	}
	return c, err
}

// udpEcho sends datagrams back.
func udpEcho(t *testing.T) string {
	c, err := net.ListenPacket("udp", server+":0")
	must(t, err)
	t.Cleanup(func() { c.Close() })
	go func() {
		for buf := make([]byte, 2048); ; {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo(buf[:n], from)
		}
	}()
	return c.LocalAddr().String()
}
