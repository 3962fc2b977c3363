package intercept

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// answers has a name's addresses.
func answers(t *testing.T, name string, addrs ...string) func(context.Context, []byte, string) []byte {
	return func(_ context.Context, query []byte, _ string) []byte {
		var m dnsmessage.Message
		if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
			t.Errorf("not a query: %v, %v", m, err)
			return nil
		}
		q := m.Questions[0]
		m.Response, m.Additionals = true, nil
		if q.Name.String() != name {
			m.RCode = dnsmessage.RCodeNameError
		}
		for _, text := range addrs {
			a := netip.MustParseAddr(text)
			h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
			if m.RCode == 0 && a.Is4() && q.Type == dnsmessage.TypeA {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
			} else if m.RCode == 0 && a.Is6() && q.Type == dnsmessage.TypeAAAA {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
		reply, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		return reply
	}
}

// TestDialer dials what the resolver says and the policy allows, and nothing else.
func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	var asked []string
	refuse := errors.New("the policy says no")
	allow := func(proto string, to netip.AddrPort) error {
		asked = append(asked, proto+" "+to.Addr().String())
		if to.Addr() != netip.MustParseAddr("127.0.0.1") {
			return refuse
		}
		return nil
	}
	dial := Dialer(answers(t, "api.example.test.", "127.0.0.9", "127.0.0.1", "::1"), allow, Directly)
	conn, err := dial(t.Context(), "tcp", "api.example.test:"+port)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if !slices.Contains(asked, "tcp 127.0.0.1") || slices.Contains(asked, "tcp ::1") && asked[0] == "tcp ::1" {
		t.Errorf("asked for %q", asked)
	}
	dial = Dialer(answers(t, "api.example.test.", "127.0.0.9", "::1"), allow, Directly)
	if _, err := dial(t.Context(), "tcp", "api.example.test:"+port); !errors.Is(err, refuse) {
		t.Errorf("a policy that refuses: %v", err)
	}
	if _, err := dial(t.Context(), "tcp", "other.example.test:"+port); err == nil || !strings.Contains(err.Error(), "other.example.test") {
		t.Errorf("a name that is none: %v", err)
	}
	none := Dialer(func(context.Context, []byte, string) []byte { return nil }, allow, Directly)
	if _, err := none(t.Context(), "tcp", "api.example.test:"+port); err == nil {
		t.Error("a resolver that does not answer")
	}
}
