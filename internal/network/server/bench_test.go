package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/network/grant"
)

// BenchmarkRequest is an HTTPS request of a guest that is this host's kernel, with a secret and without: on a connection
// of its own, and on one that is kept. make bench has it as a row.
func BenchmarkRequest(b *testing.B) {
	public, home := newAuthority(b), newAuthority(b)
	bundle := filepath.Join(b.TempDir(), "public.pem")
	must(b, os.WriteFile(bundle, public.CertPEM, 0o600))
	b.Setenv("SSL_CERT_FILE", bundle)
	serveHTTPS(b, server, public)
	resolves(b, server)
	w := newWorld(b, network.Config{Mode: network.Open, Secrets: []string{"TOKEN"}})
	g := grant.Grant{Secret: "TOKEN", Rules: grant.Rules{Hosts: []string{secretHost}}, Placeholder: grant.NewPlaceholder(secretValue), Value: secretValue}
	w.ask(control.Request{Op: control.SetSecrets, Secrets: &control.Secrets{CertPEM: home.CertPEM, KeyPEM: home.KeyPEM, Grants: []grant.Grant{g}}})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(public.CertPEM)
	roots.AppendCertsFromPEM(home.CertPEM)
	for _, kind := range []struct {
		name, host string
		fresh      bool
		want       string
	}{
		{"kept/plain", "plain.example.test", false, "false "}, {"kept/secret", secretHost, false, "true "},
		{"new/plain", "plain.example.test", true, "false "}, {"new/secret", secretHost, true, "true "},
	} {
		b.Run(kind.name, func(b *testing.B) {
			client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: kind.fresh,
				DialContext: func(context.Context, string, string) (c net.Conn, err error) {
					w.Do(func() { c, err = net.Dial("tcp", server+":443") })
					return c, err
				}}}
			defer client.CloseIdleConnections()
			for b.Loop() {
				r, err := http.NewRequest("GET", "https://"+kind.host+"/x", nil)
				must(b, err)
				r.Header.Set("Authorization", g.Placeholder)
				resp, err := client.Do(r)
				must(b, err)
				body, err := io.ReadAll(resp.Body)
				must(b, err)
				resp.Body.Close()
				if want := fmt.Sprint(kind.want, g.Placeholder); string(body) != want {
					b.Fatalf("%q, want %q", body, want)
				}
			}
		})
	}
}
