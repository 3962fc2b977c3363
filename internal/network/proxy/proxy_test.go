package proxy

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"noid/internal/errs"
)

// TestKnown refuses what net/http would take for no proxy, or noid cannot go by, and shows nothing of it.
func TestKnown(t *testing.T) {
	for _, c := range []struct {
		https, http string
		want        string // what the error says; "" is none
	}{
		{https: "http://proxy:3128"},
		{https: "proxy:3128", http: "10.0.0.1:3128"},
		{https: "http://me:50%25off@proxy:3128", http: "http://proxy"},
		{https: "", want: "HTTPS_PROXY is not set"},
		{https: "http://me:50%off@proxy:3128", want: "HTTPS_PROXY is no URL"},
		{https: "me:50%off@proxy:3128", want: "HTTPS_PROXY is no URL"},
		{https: "http://:3128", want: "HTTPS_PROXY is no URL"},
		{https: "http://proxy:3128", http: "http://me:50%off@proxy:3128", want: "HTTP_PROXY is no URL"},
		{https: "https://me:50off@proxy", want: "HTTPS_PROXY does not begin with http://"},
		{https: "socks5://me:50off@proxy", want: "HTTPS_PROXY does not begin with http://"},
	} {
		for _, lower := range []bool{false, true} {
			t.Run(c.https+" "+c.http, func(t *testing.T) {
				for name, value := range map[string]string{"HTTPS_PROXY": c.https, "HTTP_PROXY": c.http} {
					t.Setenv(name, "")
					t.Setenv(strings.ToLower(name), "")
					if lower {
						name = strings.ToLower(name)
					}
					t.Setenv(name, value)
				}
				err := Known()
				switch {
				case c.want == "" && err != nil:
					t.Error(err)
				case c.want != "" && (!errors.Is(err, errs.ErrHost) || !strings.Contains(err.Error(), c.want) || errs.Hint(err) == ""):
					t.Errorf("got %v, hint %q; want %q", err, errs.Hint(err), c.want)
				case err != nil && strings.Contains(err.Error()+errs.Hint(err), "50"):
					t.Errorf("the password is in %v", err)
				}
			})
		}
	}
}

// TestDialClosed does not go past a proxy whose URL does not parse.
func TestDialClosed(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://me:50%off@proxy:3128")
	_, err := of("192.0.2.1:443", netip.MustParseAddrPort("192.0.2.1:443"))
	if !errors.Is(err, errs.ErrHost) {
		t.Errorf("got %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := Dial(t.Context(), "", netip.MustParseAddrPort(l.Addr().String()))
	if err != nil {
		t.Fatal("loopback needs no proxy:", err)
	}
	c.Close()
}
