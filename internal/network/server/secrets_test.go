package server

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"noid/internal/network"
	"noid/internal/network/ca"
	"noid/internal/network/control"
	"noid/internal/network/grant"
)

const (
	secretHost  = "api.example.test"
	secretValue = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
)

// TestSecrets has a guest use a secret that it does not have: at the address that noid's resolver gives for its host,
// wherever the guest connects, while it is granted, and with nothing of the value left in the VM's directory.
func TestSecrets(t *testing.T) {
	public, home := newAuthority(t), newAuthority(t)
	bundle := filepath.Join(t.TempDir(), "public.pem")
	must(t, os.WriteFile(bundle, public.CertPEM, 0o600))
	t.Setenv("SSL_CERT_FILE", bundle)
	serveHTTPS(t, server, public)
	serveHTTPS(t, other, newAuthority(t)) // who is nobody
	resolves(t, server)

	w := newWorld(t, network.Config{Mode: network.Open, Secrets: []string{"TOKEN"}})
	g := grant.Grant{Secret: "TOKEN", Rules: grant.Rules{Hosts: []string{secretHost}}, Placeholder: grant.NewPlaceholder(secretValue), Value: secretValue}
	given := control.Request{Op: control.SetSecrets, Secrets: &control.Secrets{CertPEM: home.CertPEM, KeyPEM: home.KeyPEM, Grants: []grant.Grant{g}, Began: 5}}
	first := make(chan string) // waits for the secrets
	go func() { first <- w.get(other, home, g.Placeholder) }()
	w.ask(given)
	if got := <-first; got != "true "+g.Placeholder {
		t.Errorf("the first request: %q", got)
	}
	for _, at := range []string{server, other} {
		if got := w.get(at, home, g.Placeholder); got != "true "+g.Placeholder {
			t.Errorf("by %s: %q", at, got)
		}
	}
	entry := Entry{}
	data, err := os.ReadFile(filepath.Join(w.dir, network.HelperDir, network.LogFile))
	must(t, err)
	if json.Unmarshal([]byte(strings.SplitN(string(data), "\n", 2)[0]), &entry); entry.Event != "secret" || entry.Secret != "TOKEN" ||
		entry.To != secretHost || entry.Path != "/x" || entry.Status != 200 || strings.Count(string(data), "\n") != 3 {
		t.Errorf("the log has %s", data)
	}

	// What was looked up before, and a look that found nothing, change nothing; a later one does.
	for _, tt := range []struct {
		value string
		began int64
		want  string
	}{{secretValue[:39] + "b", 4, "true "}, {"", 6, "true "}, {secretValue[:39] + "c", 7, "false "}, {secretValue, 8, "true "}} {
		next := *given.Secrets
		next.Began, next.Grants = tt.began, nil
		if tt.value != "" {
			g := g
			g.Value = tt.value
			next.Grants = []grant.Grant{g}
		}
		w.ask(control.Request{Op: control.SetSecrets, Secrets: &next})
		if got := w.get(server, home, g.Placeholder); got != tt.want+g.Placeholder {
			t.Errorf("after %+v: %q", tt, got)
		}
	}

	// A connection of noid's own is listed, and cut as the guest's are.
	if own := w.own(); len(own) != 1 || own[0].Remote.String() != server+":443" || own[0].Got == 0 {
		t.Errorf("its flows: %+v", own)
	}
	must(t, network.Config{Mode: network.Open, Secrets: []string{"TOKEN"}, Deny: []string{server}}.Save(w.dir))
	if a := w.ask(control.Request{Op: control.Reload}); a.Cut < 1 || len(w.own()) > 0 {
		t.Errorf("%d flows cut, left are %+v", a.Cut, w.own())
	}
	must(t, network.Config{Mode: network.Open, Secrets: []string{"TOKEN"}}.Save(w.dir))
	w.ask(control.Request{Op: control.Reload})

	// Another helper has nothing until it is told.
	w.helper.Process.Kill()
	<-w.ended
	w.start()
	w.ask(given)
	if got := w.get(server, home, g.Placeholder); got != "true "+g.Placeholder {
		t.Errorf("with another helper: %q", got)
	}
	must(t, network.Config{Mode: network.Open}.Save(w.dir)) // revoked
	w.ask(control.Request{Op: control.Reload})
	if got := w.get(server, public, g.Placeholder); got != "false "+g.Placeholder {
		t.Errorf("without the grant: %q", got)
	}
	must(t, filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
		if data, _ := os.ReadFile(path); strings.Contains(string(data), secretValue) {
			t.Errorf("%s has the value", path)
		}
		return err
	}))
}

// own are the flows that the helper has made for requests with secrets.
func (w *world) own() []control.Flow {
	return slices.DeleteFunc(w.ask(control.Request{Op: control.Flows}).Flows, func(f control.Flow) bool { return f.Guest.IsValid() })
}

// get is a guest's request, with a token, to the secret's host at an address. It returns the body.
func (w *world) get(at string, trusted *ca.Authority, token string) string {
	conn, err := w.dial("tcp", at+":443")
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted.CertPEM)
	c := tls.Client(conn, &tls.Config{ServerName: secretHost, RootCAs: roots})
	fmt.Fprintf(c, "GET /x?query HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nConnection: close\r\n\r\n", secretHost, token)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err.Error()
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

func newAuthority(t testing.TB) *ca.Authority {
	a, err := ca.New(time.Now())
	must(t, err)
	return a
}

// serveHTTPS says at an address whether a request had the value, and what else it had.
func serveHTTPS(t testing.TB, at string, a *ca.Authority) {
	leaf := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return a.Leaf(hello.ServerName) }
	l, err := tls.Listen("tcp", at+":443", &tls.Config{GetCertificate: leaf})
	must(t, err)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		fmt.Fprint(w, token == secretValue, " ", token)
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
}

// resolves gives each name the address addr.
func resolves(t testing.TB, addr string) {
	pc, err := net.ListenPacket("udp", other+":53")
	must(t, err)
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A " + addr)
			m.Answer = []dns.RR{rr}
		}
		rw.WriteMsg(m)
	})}
	go s.ActivateAndServe()
	t.Cleanup(func() { s.Shutdown() })
}
