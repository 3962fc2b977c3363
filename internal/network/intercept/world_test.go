package intercept

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"noid/internal/network/ca"
	"noid/internal/network/grant"
)

const (
	host  = "api.example.test"
	value = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
)

// world is a host with a secret, and an interceptor before it. All of it is on this machine's loopback.
type world struct {
	*Interceptor
	t         *testing.T
	authority *ca.Authority // of the home
	grant     grant.Grant
	server    *httptest.Server // the host
	front     string           // where the guest's connections go
	port      uint16           // its port, by which the guest knows the host

	mu   sync.Mutex
	uses []Use
	rest func(net.Conn) // what is not intercepted
}

// newWorld has the host answer with handler, and be trusted. rules change the secret's.
func newWorld(t *testing.T, handler http.HandlerFunc, rules func(*grant.Rules)) *world {
	t.Helper()
	w := &world{t: t, rest: func(c net.Conn) { c.Close() }}
	public := authority(t) // which this host trusts
	leaf, err := public.Leaf(host)
	if err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewUnstartedServer(handler)
	w.server.EnableHTTP2, w.server.TLS = true, &tls.Config{Certificates: []tls.Certificate{*leaf}}
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.server.StartTLS()
	t.Cleanup(w.server.Close)

	w.authority = authority(t)
	w.Interceptor = New(Options{Roots: pool(public), Dial: w.dial, Log: func(u Use) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.uses = append(w.uses, u)
	}})
	t.Cleanup(w.Interceptor.Close)
	w.listen()
	w.grant = grant.Grant{Secret: "TOKEN", Value: value, Placeholder: grant.NewPlaceholder(value),
		Rules: grant.Rules{Hosts: []string{fmt.Sprintf("%s:%d", host, w.port)}}}
	if rules != nil {
		rules(&w.grant.Rules)
	}
	if err := w.grant.Check(); err != nil {
		t.Fatal(err)
	}
	w.Set(w.authority, []grant.Grant{w.grant})
	return w
}

func authority(t *testing.T) *ca.Authority {
	t.Helper()
	a, err := ca.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func pool(a *ca.Authority) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(a.CertPEM)
	return p
}

// dial resolves the host's name alone.
func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address != w.grant.Hosts[0] {
		return nil, fmt.Errorf("dialing %s, which is no host of the secret", address)
	}
	return new(net.Dialer).DialContext(ctx, network, w.server.Listener.Addr().String())
}

func (w *world) listen() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	w.front, w.port = l.Addr().String(), uint16(l.Addr().(*net.TCPAddr).Port)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				if rest, err := w.Handle(conn, w.port); err == nil && rest != nil {
					w.rest(rest)
				}
			}()
		}
	}()
}

// url is one of the host's, as the guest writes it.
func (w *world) url(path string) string { return fmt.Sprintf("https://%s:%d%s", host, w.port, path) }

// client is a guest's, that trusts the home's authority alone.
func (w *world) client(http2 bool) *http.Client {
	tr := &http.Transport{ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{RootCAs: pool(w.authority)},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, w.front)
		}}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// tls is a guest's connection to the host.
func (w *world) tls() *tls.Conn {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.front, &tls.Config{ServerName: host, RootCAs: pool(w.authority)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// request is one of the guest's, with the placeholder as its token.
func (w *world) request(method, path string, body io.Reader) *http.Request {
	w.t.Helper()
	r, err := http.NewRequest(method, w.url(path), body)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.grant.Placeholder)
	return r
}

// do returns the response with its body, which must not have the value, nor may a header.
func (w *world) do(c *http.Client, r *http.Request) (*http.Response, string) {
	w.t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, form := range grant.Forms(value) {
		if strings.Contains(string(data)+fmt.Sprint(resp.Header, resp.Trailer), form) {
			w.t.Errorf("the guest sees %s", form)
		}
	}
	return resp, string(data)
}

// logged returns what was logged, without times.
func (w *world) logged() (uses []Use) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.uses {
		u.Time = time.Time{}
		uses = append(uses, u)
	}
	return uses
}
