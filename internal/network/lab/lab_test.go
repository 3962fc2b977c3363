package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/network"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var pool = &sync.Pool{New: func() any { b := make([]byte, MaxData); return &b }}

func TestNetworks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "networks")
	unlock, err := Lock(t.Context(), dir)
	must(t, err)
	busy, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Lock(busy, dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a lock that is taken: %v", err)
	}
	unlock()
	a, err := Create(dir, "lab")
	must(t, err)
	b, err := Create(dir, "other")
	must(t, err)
	if a.Number != 1 || b.Number != 2 || a.Key == b.Key {
		t.Errorf("%+v and %+v", a, b)
	}
	if _, err := Create(dir, "lab"); !errors.Is(err, errs.ErrExists) {
		t.Errorf("again: %v", err)
	}
	for _, wrong := range []string{"", "-a", "a-", "A", "a.b", "a_b", "..", "a/b", ".lock", strings.Repeat("a", 64)} {
		if _, err := Create(dir, wrong); !errors.Is(err, errs.ErrUsage) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	got, err := Load(dir, "lab")
	if err != nil || got != a {
		t.Errorf("%+v, %v", got, err)
	}
	if all, err := List(dir); err != nil || len(all) != 2 || all[0] != a || all[1] != b {
		t.Errorf("%+v, %v", all, err)
	}
	must(t, Remove(dir, "lab"))
	if _, err := Load(dir, "lab"); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
	again, err := Create(dir, "third")
	must(t, err)
	if again.Number != 1 {
		t.Errorf("number %d is not that of the network which is gone", again.Number)
	}
	must(t, os.WriteFile(filepath.Join(dir, "other", recordFile), []byte(`{"number":0}`), 0o600))
	if _, err := List(dir); err == nil {
		t.Error("a damaged network is none")
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"10.63.1.5": "10.63.1.5", "fd63:6e6f:6964:1::5": "10.63.1.5", "::ffff:10.63.254.254": "10.63.254.254", "fd63:6e6f:6964:fe::fe": "10.63.254.254",
		"10.63.0.2": "", "10.63.255.1": "", "10.63.1.0": "", "10.63.1.255": "", "10.64.1.5": "", "fd63:6e6f:6964::2": "", "fd63:6e6f:6964:1::1:5": "",
		"fd63:6e6f:6964:101::5": "", "fd63:6e6f:6964:1::105": "", "fe80::1": "", "127.0.0.1": "",
	} {
		a := netip.MustParseAddr(text)
		four := Four(a)
		if got := four.String(); want == "" && four.IsValid() || want != "" && got != want {
			t.Errorf("%s is %s, want %q", text, got, want)
		}
		if four.IsValid() && Four(Six(four)) != four {
			t.Errorf("%s: back from %s", four, Six(four))
		}
	}
	on := []network.Member{{Network: "new"}, {Network: "lab", Addr: netip.MustParseAddr("10.63.1.5")}}
	for text, want := range map[string]string{"10.63.1.9": "lab", "fd63:6e6f:6964:1::9": "lab", "10.63.2.9": "", "10.63.0.2": "", "8.8.8.8": ""} {
		if m, _ := On(on, netip.MustParseAddr(text)); m.Network != want {
			t.Errorf("%s is on %q, want %q", text, m.Network, want)
		}
	}
	n, taken := Network{Number: 7}, map[netip.Addr]bool{}
	for a := n.Free(taken); a.IsValid(); a = n.Free(taken) {
		if taken[a] || !n.Has(a) {
			t.Fatalf("%s is taken, or not of the network", a)
		}
		taken[a] = true
	}
	if len(taken) != 254 {
		t.Errorf("%d addresses", len(taken))
	}
}

// pair are two inboxes on the network lab: one at 10.63.1.1, which opens flows to the other at 10.63.1.2.
func pair(t *testing.T) (dir string, from, to *Inbox, n Network) {
	// So long that no path in it would do for a socket.
	dir = filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	unlock, err := Lock(t.Context(), dir)
	must(t, err)
	defer unlock()
	n, err = Create(dir, "lab")
	must(t, err)
	boxes := [2]*Inbox{}
	for i, vm := range []string{"one", "two"} {
		boxes[i], err = NewInbox(dir, []string{vm})
		must(t, err)
		must(t, boxes[i].Bind())
		t.Cleanup(func() { boxes[i].Close() })
	}
	must(t, boxes[1].Publish(t.Context(), "lab", "Two", netip.MustParseAddr("10.63.1.2")))
	return dir, boxes[0], boxes[1], n
}

var open = Open{TCP, netip.MustParseAddrPort("10.63.1.1:4000"), netip.MustParseAddrPort("10.63.1.2:80")}

// TestFlow hands a flow over, and has both ends talk: messages stay whole, an end is told from a close.
func TestFlow(t *testing.T) {
	_, from, to, n := pair(t)
	a, err := from.Open("lab", n.Key, open, time.Second)
	must(t, err)
	defer a.Close()
	o, b, err := to.Receive(func(Open) (Key, bool) { return n.Key, true })
	must(t, err)
	defer b.Close()
	if o != open {
		t.Errorf("%+v came, %+v was sent", o, open)
	}
	big := bytes.Repeat([]byte("x"), MaxData)
	for _, m := range []struct {
		kind Kind
		data []byte
	}{{Opened, nil}, {Data, []byte("hello")}, {Data, nil}, {Data, big}, {End, nil}} {
		must(t, b.Send(m.kind, m.data))
		kind, data, n, err := a.Receive(pool)
		must(t, err)
		if kind != m.kind || !bytes.Equal((*data)[:n], m.data) {
			t.Errorf("%d with %d bytes came, %d with %d was sent", kind, n, m.kind, len(m.data))
		}
	}
	for sent := true; sent; { // until there is no more room
		sent, err = a.TrySend(Data, big)
		must(t, err)
	}
	a.SetReadDeadline(time.Unix(1, 0))
	if _, _, _, err := a.Receive(pool); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	a.Close()
	for err = nil; err == nil; {
		_, _, _, err = b.Receive(pool)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the other end is closed: %v", err)
	}
	if err := b.Send(Data, nil); !errors.Is(err, unix.EPIPE) {
		t.Errorf("sending to it: %v", err)
	}
}

// TestStrangers have no flow taken: those without the network's key, those who send something else, or no socket.
func TestStrangers(t *testing.T) {
	dir, from, to, n := pair(t)
	_, err := from.Open("lab", Key{1}, open, time.Second)
	must(t, err)
	at, done, err := socketAddr(filepath.Join(dir, "lab", "10.63.1.2"))
	must(t, err)
	defer done()
	send := func(message []byte, rights ...int) {
		from.raw.Control(func(fd uintptr) { err = unix.Sendmsg(int(fd), message, unix.UnixRights(rights...), at, 0) })
		must(t, err)
	}
	null, err := os.Open("/dev/null")
	must(t, err)
	defer null.Close()
	send(open.encode(n.Key), int(null.Fd()))
	send(open.encode(n.Key))
	send(nil)
	send(append(open.encode(n.Key), 0), int(null.Fd()))
	send(open.encode(n.Key), int(null.Fd()), int(null.Fd()), int(null.Fd()))
	last := open
	last.Proto = UDP
	_, err = from.Open("lab", n.Key, last, time.Second)
	must(t, err)
	if o, c, err := to.Receive(func(Open) (Key, bool) { return n.Key, true }); err != nil || o != last {
		t.Errorf("%+v was taken: %v", o, err)
	} else {
		c.Close()
	}
	to.Close()
	if _, _, err := to.Receive(func(Open) (Key, bool) { return n.Key, true }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed inbox: %v", err)
	}
	if _, err := from.Open("lab", n.Key, open, time.Second); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("an inbox that is gone: %v", err)
	}
}

// TestRoster: a VM is found by its name now, whatever helper died before it could say that it left.
func TestRoster(t *testing.T) {
	dir, _, to, n := pair(t)
	addr := netip.MustParseAddr("10.63.1.2")
	find := func(vm string) netip.Addr {
		a, _ := to.Find("lab", vm)
		return a
	}
	if find("two") != addr || find("TWO") != addr || find("one").IsValid() || find("../lab/@two").IsValid() || find("").IsValid() {
		t.Error("not found by its name, or by another")
	}
	// Killed, renamed while it was dead, and started again.
	again, err := NewInbox(dir, []string{"two"})
	must(t, err)
	must(t, again.Bind())
	must(t, again.Publish(t.Context(), "lab", "new", addr))
	if find("two").IsValid() || find("new") != addr {
		t.Error("it has the name that it had")
	}
	// Put back: another VMM has its address, and the one before then leaves.
	after, err := NewInbox(dir, []string{"after"})
	must(t, err)
	must(t, after.Bind())
	defer after.Close()
	must(t, after.Publish(t.Context(), "lab", "new", addr))
	must(t, again.Withdraw(t.Context(), "lab", addr))
	if find("new") != addr {
		t.Error("who left took the name with it that another one has by now")
	}
	_, err = to.Open("lab", n.Key, open, time.Second)
	must(t, err)
	must(t, after.Withdraw(t.Context(), "lab", addr))
	if find("new").IsValid() {
		t.Error("found after it left")
	}
	if _, err := to.Open("lab", n.Key, open, time.Second); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("open after it left: %v", err)
	}
}

// TestSweep removes what dead helpers and killed commands left, and nothing else.
func TestSweep(t *testing.T) {
	dir, from, to, _ := pair(t)
	must(t, from.Publish(t.Context(), "lab", "one", netip.MustParseAddr("10.63.1.1")))
	must(t, os.Mkdir(filepath.Join(dir, newPrefix+"half"), 0o700))
	to.file.Close() // as its process's end does
	Sweep(dir)
	if _, ok := from.Find("lab", "two"); ok {
		t.Error("the dead one is found")
	}
	if _, ok := from.Find("lab", "one"); !ok {
		t.Error("the one that lives is not found")
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 3 { // the lock, the network, the one inbox
		t.Errorf("left are %v", entries)
	}
	if all, err := List(dir); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

// FuzzOpen: what is taken is between two VMs of one network, and is sent as it came.
func FuzzOpen(f *testing.F) {
	f.Add(open.encode(Key{7}))
	f.Add(Open{Ping, netip.MustParseAddrPort("[fd63:6e6f:6964:1::1]:7"), netip.MustParseAddrPort("[fd63:6e6f:6964:1::2]:0")}.encode(Key{}))
	f.Add([]byte{version})
	f.Fuzz(func(t *testing.T, message []byte) {
		o, key, err := parse(message)
		if err != nil {
			return
		}
		from, to := Four(o.From.Addr()), Four(o.To.Addr())
		if !from.IsValid() || !to.IsValid() || from.As4()[2] != to.As4()[2] || o.From.Addr().Is4() != o.To.Addr().Is4() {
			t.Errorf("%+v is taken", o)
		}
		if again, k, err := parse(o.encode(key)); err != nil || again != o || k != key {
			t.Errorf("%+v is sent as %+v", o, again)
		}
	})
}
