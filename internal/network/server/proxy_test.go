package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/network/grant"
)

// proxyAt is an HTTP proxy that connects to ports below 9000, by whatever name they are asked for at server. It returns
// its URL, and what it was asked for.
func proxyAt(t *testing.T, at string) (url string, asked func() string) {
	l, err := net.Listen("tcp", at+":0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	var seen []string
	serve := func(c net.Conn) {
		defer c.Close()
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
		mu.Lock()
		seen = append(seen, fmt.Sprintf("%s %s %s:%s", r.Method, r.RequestURI, user, password))
		mu.Unlock()
		_, port, _ := strings.Cut(r.RequestURI, ":")
		if len(port) > 3 {
			io.WriteString(c, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
			return
		}
		to, err := net.Dial("tcp", server+":"+port)
		if err != nil {
			return
		}
		defer to.Close()
		io.WriteString(c, "HTTP/1.1 200 Yes\r\n\r\n"+map[string]string{"700": "banner "}[port]) // as if the server had said it at once
		go func() { io.Copy(to, c); to.Close() }()
		io.Copy(c, to)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return "http://me:pass@" + l.Addr().String(), func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(seen, "\n")
	}
}

// TestHostProxy has a VM's TCP go by this host's proxy, which says no to some; what it cannot carry is refused, and all
// where none is known.
func TestHostProxy(t *testing.T) {
	url, asked := proxyAt(t, server)
	t.Setenv("HTTPS_PROXY", url)
	t.Setenv("NO_PROXY", other)
	l, err := listen(server + ":700")
	echo(t, l, err)
	l, err = listen(other + ":700")
	echo(t, l, err)
	w := newWorld(t, network.Config{Mode: network.Open, HostProxy: true, Deny: []string{server + ":701"}})
	c, err := w.dial("tcp", server+":700")
	must(t, err)
	banner := make([]byte, len("banner "))
	if _, err := io.ReadFull(c, banner); err != nil || string(banner) != "banner " {
		t.Errorf("%q, %v", banner, err)
	}
	must(t, says(c, "hello"))
	c, err = w.dial("tcp", other+":700") // of NO_PROXY
	must(t, err)
	must(t, says(c, "hello"))
	for _, refused := range []string{server + ":9999", server + ":701"} {
		if _, err := w.dial("tcp", refused); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v", refused, err)
		}
	}
	c, err = w.dial("udp", server+":700")
	must(t, err)
	io.WriteString(c, "x")
	if _, err := c.Read(banner); !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("udp: %v", err)
	}
	if want := "CONNECT " + server + ":700 me:pass\nCONNECT " + server + ":9999 me:pass"; asked() != want {
		t.Errorf("the proxy was asked for\n%s\nwant\n%s", asked(), want)
	}
	log, err := os.ReadFile(filepath.Join(w.dir, network.HelperDir, network.LogFile))
	if err != nil || !strings.Contains(string(log), "status 403") || !strings.Contains(string(log), errTCPAlone.Error()) || strings.Contains(string(log), "pass@") {
		t.Errorf("the log has %s, %v", log, err)
	}

	w.helper.Process.Kill()
	<-w.ended
	t.Setenv("HTTPS_PROXY", "")
	w.start()
	if _, err := w.dial("tcp", server+":700"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("without a proxy: %v", err)
	}
}

// TestSecretsByProxy asks the proxy for a secret's host by its name, where the policy allows an address of it.
func TestSecretsByProxy(t *testing.T) {
	public, home := newAuthority(t), newAuthority(t)
	bundle := filepath.Join(t.TempDir(), "public.pem")
	must(t, os.WriteFile(bundle, public.CertPEM, 0o600))
	t.Setenv("SSL_CERT_FILE", bundle)
	serveHTTPS(t, server, public)
	resolves(t, server)
	url, asked := proxyAt(t, other)
	t.Setenv("HTTPS_PROXY", strings.Replace(url, "me:pass@", "", 1))
	t.Setenv("NO_PROXY", "")
	w := newWorld(t, network.Config{Mode: network.Open, HostProxy: true, Secrets: []string{"TOKEN"}})
	g := grant.Grant{Secret: "TOKEN", Rules: grant.Rules{Hosts: []string{secretHost}}, Placeholder: grant.NewPlaceholder(secretValue), Value: secretValue}
	w.ask(control.Request{Op: control.SetSecrets, Secrets: &control.Secrets{CertPEM: home.CertPEM, KeyPEM: home.KeyPEM, Grants: []grant.Grant{g}}})
	if got := w.get(server, home, g.Placeholder); got != "true "+g.Placeholder {
		t.Errorf("%q", got)
	}
	if want := "CONNECT " + secretHost + ":443 :"; asked() != want {
		t.Errorf("the proxy was asked for %q, want %q", asked(), want)
	}
	if own := w.own(); len(own) > 1 {
		t.Errorf("its flows: %+v", own)
	}
}
