package resolver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"noid/internal/network/address"
	"noid/internal/network/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

type fakePolicy struct {
	mu      sync.Mutex
	learned []string
}

func (p *fakePolicy) Resolve(name string) error {
	if strings.HasPrefix(name, "denied.") {
		return errors.New("a rule denies it")
	}
	return nil
}

func (p *fakePolicy) Learn(name string, addrs []netip.Addr, ttl time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.learned = append(p.learned, fmt.Sprintf("%s %v %v", name, addrs, ttl))
}

// upstream is a server of the internet: it answers each query with what reply makes of it, bytes perhaps.
func upstream(t testing.TB, ip string, reply func(q *dns.Msg, proto string) any) {
	t.Helper()
	handle := func(proto string) dns.HandlerFunc {
		return func(w dns.ResponseWriter, q *dns.Msg) {
			switch answer := reply(q, proto).(type) {
			case *dns.Msg:
				w.WriteMsg(answer)
			case []byte:
				w.Write(answer)
			}
		}
	}
	c, err := net.ListenPacket("udp", net.JoinHostPort(ip, "53"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "53"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: c, Handler: handle("udp")}, {Listener: l, Handler: handle("tcp")}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
}

func rr(t testing.TB, text string) dns.RR {
	r, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func answering(t testing.TB, records ...string) func(*dns.Msg, string) any {
	return func(q *dns.Msg, _ string) any {
		m := new(dns.Msg).SetReply(q)
		for _, text := range records {
			m.Answer = append(m.Answer, rr(t, text))
		}
		return m
	}
}

func newResolver(t testing.TB, servers ...string) (*Resolver, *fakePolicy) {
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	use(t, conf, servers...)
	p := &fakePolicy{}
	return &Resolver{Policy: func() Policy { return p }, Conf: Conf{Path: conf}}, p
}

func use(t testing.TB, conf string, servers ...string) {
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintln(&b, "nameserver", s)
	}
	if err := errors.Join(os.WriteFile(conf+".new", []byte(b.String()), 0o600), os.Rename(conf+".new", conf)); err != nil {
		t.Fatal(err)
	}
}

// ask asks as a guest would.
func ask(t testing.TB, r *Resolver, name string, kind uint16, proto string) *dns.Msg {
	t.Helper()
	q := new(dns.Msg).SetQuestion(name, kind)
	query, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	answer := new(dns.Msg)
	if err := answer.Unpack(r.Answer(t.Context(), query, proto)); err != nil {
		t.Fatal(err)
	}
	if answer.Id != q.Id || !answer.Response || len(answer.Question) != 1 || answer.Question[0] != q.Question[0] {
		t.Errorf("not an answer to the question: %v", answer)
	}
	return answer
}

// TestAliases learns what the guest is told about the name that it asked for, and of nothing else.
func TestAliases(t *testing.T) {
	upstream(t, "198.51.100.53", answering(t, "b.example. 50 IN CNAME c.example.", "a.example. 300 IN CNAME B.example.", "c.example. 70 IN A 203.0.113.1",
		"c.example. 70 IN A 203.0.113.2", "victim.example. 9 IN A 203.0.113.66"))
	r, p := newResolver(t, "198.51.100.53")
	m := ask(t, r, "A.example.", dns.TypeA, "udp")
	if len(m.Answer) != 5 || m.Rcode != dns.RcodeSuccess || !m.RecursionAvailable {
		t.Errorf("answer %v", m)
	}
	if want := "[A.example. [203.0.113.1 203.0.113.2] 50s]"; fmt.Sprint(p.learned) != want {
		t.Errorf("learned %s, want %s", p.learned, want)
	}
}

// TestPlain withholds what would lead past the interception, of the hosts that it is for, and nothing else.
func TestPlain(t *testing.T) {
	upstream(t, "198.51.100.53", func(q *dns.Msg, _ string) any {
		m := new(dns.Msg).SetReply(q)
		text := map[uint16]string{dns.TypeHTTPS: ` 60 IN HTTPS 1 . alpn="h3" ech="AEX+DQBBAAAAAAAA"`, dns.TypeSVCB: ` 60 IN SVCB 1 . alpn="h3"`, dns.TypeA: " 60 IN A 203.0.113.1"}[q.Question[0].Qtype]
		m.Answer = []dns.RR{rr(t, q.Question[0].Name+text)}
		return m
	})
	r, _ := newResolver(t, "198.51.100.53")
	r.Plain = func(name string) bool { return name == "api.example" }
	for name, answers := range map[string]int{"API.example.": 0, "_8443._https.api.example.": 0, "www.example.": 1, "x.api.example.": 1, "_https.example.": 1, "_.": 1} {
		for _, kind := range []uint16{dns.TypeHTTPS, dns.TypeSVCB} {
			if m := ask(t, r, name, kind, "udp"); m.Rcode != dns.RcodeSuccess || len(m.Answer) != answers {
				t.Errorf("%s %s: %v", name, dns.TypeToString[kind], m)
			}
		}
	}
	if m := ask(t, r, "api.example.", dns.TypeA, "udp"); len(m.Answer) != 1 {
		t.Errorf("the address: %v", m)
	}
}

func TestOwnNamesAndRefusals(t *testing.T) {
	r, p := newResolver(t) // no server is ever asked
	var refused string
	r.Refused = func(name string, why error) { refused = name + ": " + why.Error() }
	if m := ask(t, r, "Host.noid.internal.", dns.TypeA, "udp"); len(m.Answer) != 1 || !m.Answer[0].(*dns.A).A.Equal(net.IP(address.Host4.AsSlice())) {
		t.Errorf("%v", m)
	}
	if m := ask(t, r, "host.noid.internal.", dns.TypeAAAA, "udp"); len(m.Answer) != 1 || !m.Answer[0].(*dns.AAAA).AAAA.Equal(net.IP(address.Host6.AsSlice())) {
		t.Errorf("%v", m)
	}
	for name, want := range map[string]int{"host.noid.internal. MX": dns.RcodeSuccess, "x.noid.internal. A": dns.RcodeNameError, "denied.example. A": dns.RcodeRefused,
		"example. ANY": dns.RcodeRefused, "example. AXFR": dns.RcodeRefused} {
		name, kind, _ := strings.Cut(name, " ")
		if m := ask(t, r, name, dns.StringToType[kind], "tcp"); m.Rcode != want || len(m.Answer) > 0 {
			t.Errorf("%s: %v", name, m)
		}
	}
	if refused != "denied.example.: a rule denies it" || len(p.learned) > 0 {
		t.Errorf("refused %q, learned %v", refused, p.learned)
	}
}

// TestServers asks the next server when one is silent, wrong or broken, and follows resolv.conf.
func TestServers(t *testing.T) {
	upstream(t, "198.51.100.10", func(q *dns.Msg, _ string) any {
		m := new(dns.Msg).SetReply(q)
		m.Question[0].Name = "other.example."
		m.Answer = []dns.RR{rr(t, "other.example. 1 IN A 203.0.113.66")}
		return m
	})
	upstream(t, "198.51.100.11", func(q *dns.Msg, _ string) any { return []byte("nonsense") })
	upstream(t, "198.51.100.12", func(q *dns.Msg, _ string) any { return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure) })
	upstream(t, "198.51.100.13", answering(t, "a.example. 1 IN A 203.0.113.1"))
	r, _ := newResolver(t, "198.51.100.9", "198.51.100.10", "198.51.100.11") // nobody listens at the first
	if m := ask(t, r, "a.example.", dns.TypeA, "udp"); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("of servers that are no good: %v", m)
	}
	use(t, r.Conf.Path, "198.51.100.10", "198.51.100.12", "198.51.100.13")
	if m := ask(t, r, "a.example.", dns.TypeA, "udp"); len(m.Answer) != 1 {
		t.Errorf("of servers of which one is good: %v", m)
	}
}

// TestLength cuts a long answer for a guest that asks by UDP, and gets it by TCP itself.
func TestLength(t *testing.T) {
	upstream(t, "198.51.100.53", func(q *dns.Msg, proto string) any {
		m := new(dns.Msg).SetReply(q)
		if proto == "udp" {
			m.Truncated = true
			return m
		}
		for i := range 200 {
			m.Answer = append(m.Answer, rr(t, fmt.Sprintf("a.example. 60 IN A 203.0.113.%d", i)))
		}
		return m
	})
	r, _ := newResolver(t, "198.51.100.53")
	if m := ask(t, r, "a.example.", dns.TypeA, "tcp"); len(m.Answer) != 200 || m.Truncated {
		t.Errorf("by tcp: %d records, truncated: %t", len(m.Answer), m.Truncated)
	}
	if m := ask(t, r, "a.example.", dns.TypeA, "udp"); !m.Truncated || packed(m) > minUDP {
		t.Errorf("by udp: %d bytes, truncated: %t", packed(m), m.Truncated)
	}
}

func packed(m *dns.Msg) int {
	m.Compress = true
	return m.Len()
}

// TestIDs has every question come with an id and a port of its own.
func TestIDs(t *testing.T) {
	ids := map[uint16]bool{}
	var mu sync.Mutex
	upstream(t, "198.51.100.53", func(q *dns.Msg, _ string) any {
		mu.Lock()
		defer mu.Unlock()
		ids[q.Id] = true
		return new(dns.Msg).SetReply(q)
	})
	r, _ := newResolver(t, "198.51.100.53")
	q := new(dns.Msg).SetQuestion("a.example.", dns.TypeA)
	q.Id = 7
	query, _ := q.Pack()
	for range 50 {
		r.Answer(t.Context(), query, "udp")
	}
	if len(ids) < 45 {
		t.Errorf("%d ids in 50 questions", len(ids))
	}
}

// FuzzQuery has any bytes be a query.
func FuzzQuery(f *testing.F) {
	q, _ := new(dns.Msg).SetQuestion("host.noid.internal.", dns.TypeA).Pack()
	f.Add(q)
	f.Add([]byte{})
	conf := filepath.Join(f.TempDir(), "resolv.conf")
	use(f, conf, "198.51.100.9") // who refuses
	r := &Resolver{Policy: func() Policy { return &fakePolicy{} }, Conf: Conf{Path: conf}}
	f.Fuzz(func(t *testing.T, query []byte) {
		if out := r.Answer(t.Context(), query, "udp"); len(out) > maxUDP || out != nil && len(out) < 12 {
			t.Errorf("%d bytes", len(out))
		}
	})
}

// FuzzReply has any bytes be what a server says after the header and the question.
func FuzzReply(f *testing.F) {
	full, _ := answering(f, "a.example. 1 IN CNAME b.example.", "b.example. 1 IN A 203.0.113.1")(new(dns.Msg).SetQuestion("a.example.", dns.TypeA), "").(*dns.Msg).Pack()
	f.Add(full[2:])
	f.Add([]byte{0x81, 0x80})
	var reply []byte
	server := fmt.Sprintf("198.51.100.%d", 20+os.Getpid()%200) // each process that fuzzes has its own
	upstream(f, server, func(q *dns.Msg, _ string) any {
		return append([]byte{byte(q.Id >> 8), byte(q.Id)}, reply...)
	})
	r, _ := newResolver(f, server)
	query, _ := new(dns.Msg).SetQuestion("a.example.", dns.TypeA).Pack()
	f.Fuzz(func(t *testing.T, rest []byte) {
		if len(rest) > 1200 {
			return
		}
		reply = rest
		out := r.Answer(t.Context(), query, "udp")
		if m := new(dns.Msg); len(out) > minUDP || m.Unpack(out) != nil || !m.Response {
			t.Errorf("%x", out)
		}
	})
}
