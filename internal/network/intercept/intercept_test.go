package intercept

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/network/grant"
)

// both runs f as HTTP/1.1 and as HTTP/2.
func both(t *testing.T, f func(t *testing.T, http2 bool)) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/%d", 1+map[bool]int{true: 1}[http2]), func(t *testing.T) { f(t, http2) })
	}
}

// echo answers with what it was asked, the value in it, in every way that a server may.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Echo", r.Header.Get("Authorization"))
	w.Header().Set("Alt-Svc", `h3=":443"`)
	w.Header().Set("Trailer", "X-After")
	w.Header().Set("Link", value)
	w.WriteHeader(http.StatusEarlyHints)
	fmt.Fprintf(w, "%s %s %s %s %s\n", r.Proto, r.Method, r.RequestURI, r.Host, body)
	fmt.Fprintln(w, r.Header.Get("Authorization"), base64.StdEncoding.EncodeToString([]byte("u:"+value)))
	w.Header().Set("X-After", value)
}

// TestHeaders puts the value into a header and takes it out of what comes back.
func TestHeaders(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		var seen atomic.Value
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			seen.Store(r.Header.Clone())
			echo(rw, r)
		}, nil)
		r := w.request("POST", "/a%2Fb/c?q=1;2&p=%zz", strings.NewReader("body "+w.grant.Placeholder))
		r.Header.Add("X-Other", "a "+w.grant.Placeholder+" b")
		r.Header.Set("X-Forwarded-For", "10.1.2.3")
		r.Header.Set("Accept-Encoding", "br, zstd")
		resp, body := w.do(w.client(http2), r)
		got := seen.Load().(http.Header)
		if got.Get("Authorization") != "Bearer "+value || got.Get("X-Other") != "a "+value+" b" || got.Get("X-Forwarded-For") != "10.1.2.3" {
			t.Errorf("the host saw %v", got)
		}
		if resp.ProtoMajor != 1+map[bool]int{true: 1}[http2] || resp.Header.Get("Alt-Svc") != "" || resp.Header.Get("X-Echo") != "Bearer "+w.grant.Placeholder {
			t.Errorf("the guest got %s %v", resp.Proto, resp.Header)
		}
		want := fmt.Sprintf("HTTP/2.0 POST /a%%2Fb/c?q=1;2&p=%%zz %s:%d body %s\nBearer %[3]s ", host, w.port, w.grant.Placeholder)
		if !strings.HasPrefix(body, want) || resp.Trailer.Get("X-After") != w.grant.Placeholder {
			t.Errorf("the guest got %q and %v, want %q", body, resp.Trailer, want)
		}
		use := []Use{{Secret: "TOKEN", Host: host, Method: "POST", Path: "/a%2Fb/c", Status: 200}}
		if diff := cmp.Diff(use, w.logged()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestBasic finds the placeholder in a password, as git sends it.
func TestBasic(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		fmt.Fprint(w, user == "x-access-token" && password == value, " ", r.Header.Get("Authorization"))
	}, nil)
	r := w.request("GET", "/", nil)
	r.SetBasicAuth("x-access-token", w.grant.Placeholder)
	// The last digit of base64 has bits of the value, but says little.
	want := "true " + strings.TrimRight(r.Header.Get("Authorization"), "=")
	if _, body := w.do(w.client(false), r); len(body) < len(want) || body[:len(want)-1] != want[:len(want)-1] {
		t.Errorf("%s, want %s", body, want)
	}
}

// TestHeaderRule sets the one header, whatever the guest has in it, and replaces nothing else.
func TestHeaderRule(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header["X-Key"], r.Header.Get("Authorization") == "Bearer "+value)
		if r.Header.Get("X-Key") != "k="+value {
			t.Errorf("the host saw %v", r.Header)
		}
	}, func(r *grant.Rules) { r.Header = "x-key: k={}" })
	r := w.request("GET", "/", nil)
	r.Header["X-Key"] = []string{"one", "two"}
	if _, body := w.do(w.client(true), r); body != "[k="+w.grant.Placeholder+"] false" {
		t.Error(body)
	}
}

// TestUnused leaves a request without the placeholder alone, and logs nothing.
func TestUnused(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"), value)
	}, func(r *grant.Rules) { r.Allow = []string{"GET /private"} })
	r := w.request("GET", "/", nil)
	r.Header.Del("Authorization")
	if _, body := w.do(w.client(true), r); body != w.grant.Placeholder || w.logged() != nil {
		t.Errorf("%s, %v", body, w.logged())
	}
}

// TestAllow refuses what no pattern allows, before the host sees it.
func TestAllow(t *testing.T) {
	for _, header := range []string{"", "Authorization: Bearer {}"} {
		var served atomic.Int32
		w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
			if served.Add(1); r.Header.Get("X-Http-Method-Override") != "" {
				t.Error("the method is disguised")
			}
		}, func(r *grant.Rules) { r.Allow, r.Header = []string{"GET /repos/**"}, header })
		c := w.client(true)
		for _, path := range []string{"/user", "/repos/%2e%2e/user"} {
			r := w.request("GET", path, nil)
			resp, body := w.do(c, r)
			if resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "GET /repos/**") || !strings.Contains(body, "TOKEN") {
				t.Errorf("%s: %s %s", path, resp.Status, body)
			}
		}
		r := w.request("GET", "/repos/x", nil)
		r.Header.Set("X-HTTP-Method-Override", "DELETE")
		if resp, _ := w.do(c, r); resp.StatusCode != 200 || served.Load() != 1 {
			t.Errorf("%s, %d served", resp.Status, served.Load())
		}
		want := []Use{{Secret: "TOKEN", Host: host, Method: "GET", Path: "/user", Status: 403, Denied: true},
			{Secret: "TOKEN", Host: host, Method: "GET", Path: "/repos/%2e%2e/user", Status: 403, Denied: true},
			{Secret: "TOKEN", Host: host, Method: "GET", Path: "/repos/x", Status: 200}}
		if diff := cmp.Diff(want, w.logged()); diff != "" {
			t.Error(diff)
		}
	}
}

// TestBody puts the value into a body of a known and of an unknown length, also where its length is another one.
func TestBody(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprint(w, len(body), strings.Count(string(body), value), strings.Count(string(body), "!"))
		}, func(r *grant.Rules) { r.Body = true })
		for _, placeholder := range []string{w.grant.Placeholder, "PLACEHOLDER-1234"} {
			w.grant.Placeholder = placeholder
			w.Set(w.authority, []grant.Grant{w.grant})
			text := strings.Repeat("!"+placeholder, 10_000)
			for _, body := range []io.Reader{strings.NewReader(text), io.MultiReader(strings.NewReader(text))} {
				r := w.request("POST", "/", body)
				r.Header.Del("Authorization")
				if _, got := w.do(w.client(http2), r); got != fmt.Sprint(10_000*(len(value)+1), 10_000, 10_000) {
					t.Errorf("with %q the host saw %s", placeholder, got)
				}
			}
		}
		if uses := w.logged(); len(uses) != 4 || uses[0].Status != 200 {
			t.Errorf("logged %v", uses)
		}
	})
}

// TestMisdirected refuses a request for another host on the connection, whose certificate does not name it.
func TestMisdirected(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, func(http.ResponseWriter, *http.Request) { t.Error("the host was asked") }, nil)
		for _, other := range []string{"evil.example.test", host, host + ":1", "evil.example.test:443"} {
			r := w.request("GET", "/", nil)
			r.Host = other
			if resp, _ := w.do(w.client(http2), r); resp.StatusCode != http.StatusMisdirectedRequest {
				t.Errorf("%s: %s", other, resp.Status)
			}
		}
	})
}

// TestRevoke closes a connection that waits for the next request: another one passes through.
func TestRevoke(t *testing.T) {
	w := newWorld(t, func(http.ResponseWriter, *http.Request) {}, nil)
	c := w.tls()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s:%d\r\n\r\n", host, w.port)
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	io.Copy(io.Discard, resp.Body)
	w.Set(w.authority, nil)
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s:%d\r\nAuthorization: %s\r\n\r\n", host, w.port, w.grant.Placeholder)
	if resp, err = http.ReadResponse(in, nil); err == nil {
		t.Errorf("answered: %s", resp.Status)
	}
	if w.Wants(w.port) || len(w.logged()) > 0 {
		t.Error("a secret is still granted")
	}
}

// TestEncodings asks for none but gzip, which it decodes, and lets no other through.
func TestEncodings(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header["Accept-Encoding"]; !slices.Equal(got, []string{"gzip"}) || r.Header.Get("Range") != "" {
				t.Errorf("Accept-Encoding: %q, %v", got, r.Header)
			}
			if r.URL.Path == "/grpc" {
				w.Header().Set("Grpc-Encoding", "gzip")
				return
			}
			w.Header().Set("Content-Encoding", strings.TrimPrefix(r.URL.Path, "/"))
			z := gzip.NewWriter(w)
			fmt.Fprint(z, value)
			z.Close()
		}, nil)
		c := w.client(http2)
		c.Transport.(*http.Transport).DisableCompression = true
		if resp, body := w.do(c, w.request("GET", "/gzip", nil)); body != w.grant.Placeholder || resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("%v %q", resp.Header, body)
		}
		if resp, body := w.do(c, w.request("GET", "/br", nil)); resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, `"br"`) {
			t.Errorf("%s %q", resp.Status, body)
		}
		r := w.request("GET", "/gzip", nil)
		r.Header.Set("Range", "bytes=0-")
		if resp, body := w.do(c, r); body != w.grant.Placeholder { // no host is asked for a part
			t.Errorf("a part: %s %q", resp.Status, body)
		}
		if resp, body := w.do(c, w.request("GET", "/grpc", nil)); resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, `"gzip"`) {
			t.Errorf("messages that are encoded: %s %q", resp.Status, body)
		}
	})
}

// TestUntrusted sends nothing to a host that cannot prove its name, and says so.
func TestUntrusted(t *testing.T) {
	w := newWorld(t, func(http.ResponseWriter, *http.Request) { t.Error("the host was asked") }, nil)
	w.transport.TLSClientConfig.RootCAs = pool(authority(t))
	if resp, body := w.do(w.client(true), w.request("GET", "/", nil)); resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, "certificate") {
		t.Errorf("%s %s", resp.Status, body)
	}
}

// TestLarge streams large bodies both ways and keeps little of them.
func TestLarge(t *testing.T) {
	const size = 32 << 20
	both(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			w.Header().Set("X-Received", fmt.Sprint(n))
			block := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
			for range size / len(block) {
				w.Write(block)
			}
		}, func(r *grant.Rules) { r.Body = true })
		r := w.request("PUT", "/", io.LimitReader(zeros{}, size))
		r.ContentLength = size
		r.Header.Set("Expect", "100-continue")
		resp, err := w.client(http2).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		if n != size || err != nil || resp.Header.Get("X-Received") != fmt.Sprint(size) {
			t.Errorf("sent %s, received %d: %v", resp.Header.Get("X-Received"), n, err)
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
