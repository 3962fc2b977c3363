package intercept

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"noid/internal/network/grant"
)

// connKey is the key of a request's connection, a *peeked, in its context.
type connKey struct{}

// ServeHTTP sends a guest's request on, with the values of the secrets that it may use.
func (i *Interceptor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn := r.Context().Value(connKey{}).(*peeked)
	grants := i.grants.Load().of(conn.name, conn.port)
	switch {
	case len(grants) == 0: // revoked: the next connection passes through
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusMisdirectedRequest, "no secret is for this host any more; connect again")
		return
	case r.Method == http.MethodConnect || !isHost(r.Host, conn.name, conn.port):
		refuse(w, http.StatusMisdirectedRequest, fmt.Sprintf("this connection is for %s alone", conn.name))
		return
	}
	x := &exchange{i: i, w: w, r: r, grants: grants, conn: conn}
	if secret, why := x.insert(); why != "" {
		x.report(secret, http.StatusForbidden, true)
		refuse(w, http.StatusForbidden, why)
		return
	}
	x.replaceBody()
	x.limitEncodings()
	http.NewResponseController(w).EnableFullDuplex() // a server may answer before it has read all
	defer func() { x.note(x.status) }()
	i.proxy.ServeHTTP(x, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
}

// isHost reports whether a request's Host is the one that the connection's certificate is for.
func isHost(host, name string, port uint16) bool {
	got, text, err := net.SplitHostPort(host)
	if err != nil {
		got, text = host, fmt.Sprint(grant.DefaultPort)
	}
	return strings.EqualFold(strings.TrimSuffix(got, "."), name) && text == fmt.Sprint(port)
}

func refuse(w http.ResponseWriter, status int, why string) {
	http.Error(w, "noid: "+why, status)
}

// exchange is one request and its response. It is the ResponseWriter that the proxy sees.
type exchange struct {
	i      *Interceptor
	w      http.ResponseWriter
	r      *http.Request
	conn   *peeked
	grants []grant.Grant
	status int

	mu    sync.Mutex
	table *table      // that hidden is of, beside grants
	pairs [][2]string // what the guest must not see, and sees instead

	body   *body         // of the request, if something is replaced in it
	inBody []grant.Grant // what
	used   []string      // secrets whose values are in the request
	logged []string      // those of them that the log knows
}

// hidden is what the guest must not see, and sees instead: the values of when the request came, and those of now.
func (x *exchange) hidden() [][2]string {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.i.grants.Load()
	if now == x.table {
		return x.pairs
	}
	x.table, x.pairs = now, nil
	values := map[string]bool{}
	for _, g := range slices.Concat(x.grants, now.of(x.conn.name, x.conn.port)) {
		if !values[g.Value] {
			x.pairs = append(x.pairs, g.Masks()...)
		}
		values[g.Value] = true
	}
	return x.pairs
}

// insert puts the values of secrets into the headers of the request. If the request may not have one that it asks for, it
// says why: it is refused then, so that nobody takes the placeholder for a wrong password.
func (x *exchange) insert() (secret, why string) {
	var refused *grant.Grant // wants its header set, but not in this request
	set := map[string]bool{}
	for _, g := range x.grants {
		allowed := g.Allows(x.r.Method, x.r.URL.EscapedPath())
		switch {
		case g.Header == "" && x.replaceHeaders(g, allowed) && !allowed:
			return g.Secret, notFor(g)
		case g.Header != "" && !allowed:
			refused = cmp.Or(refused, &g)
		case g.Header != "":
			if name, text := g.SetHeader(g.Value); !set[http.CanonicalHeaderKey(name)] { // the first that is allowed
				x.r.Header.Set(name, text)
				set[http.CanonicalHeaderKey(name)] = true
				x.used = append(x.used, g.Secret)
			}
		}
		if g.Body && allowed && x.r.Body != http.NoBody {
			x.inBody = append(x.inBody, g)
		}
		if len(g.Allow) > 0 {
			for _, name := range disguises {
				x.r.Header.Del(name)
			}
		}
	}
	if refused != nil && len(set) == 0 {
		return refused.Secret, notFor(*refused)
	}
	return "", ""
}

func notFor(g grant.Grant) string {
	return fmt.Sprintf("secret %q is not for this request; it is for: %s", g.Secret, strings.Join(g.Allow, ", "))
}

// replaceHeaders reports whether the request has g's placeholder in a header. With allowed it puts the value there.
func (x *exchange) replaceHeaders(g grant.Grant, allowed bool) (found bool) {
	for _, values := range x.r.Header {
		for n, value := range values {
			with, has := insertInto(value, g)
			if found = found || has; has && allowed {
				values[n] = with
			}
		}
	}
	if found && allowed {
		x.used = append(x.used, g.Secret)
	}
	return found
}

// disguises are headers by which some servers take a request for another one than its first line says.
var disguises = []string{"X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"}

// insertInto replaces g's placeholder in a header's text, also inside the base64 of "Basic USER:PASSWORD".
func insertInto(text string, g grant.Grant) (with string, found bool) {
	if strings.Contains(text, g.Placeholder) {
		return strings.ReplaceAll(text, g.Placeholder, g.Value), true
	}
	if len(text) < 6 || !strings.EqualFold(text[:6], "basic ") {
		return text, false
	}
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text[6:]))
	if err != nil || !strings.Contains(string(plain), g.Placeholder) {
		return text, false
	}
	return text[:6] + base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(string(plain), g.Placeholder, g.Value))), true
}

// replaceBody has the values put into the request's body while it is sent.
func (x *exchange) replaceBody() {
	var pairs [][2]string
	for _, g := range x.inBody {
		pairs = append(pairs, [2]string{g.Placeholder, g.Value})
		if len(g.Placeholder) != len(g.Value) {
			x.r.ContentLength = -1
		}
	}
	if pairs != nil {
		x.body = newBody(x.r.Body, pairs)
		x.r.Body = x.body
	}
}

// limitEncodings keeps the server from encoding a response in a way that noid cannot look into, and from sending a part,
// which could be a part of a value. What the transport asks for by itself, gzip, it decodes.
func (x *exchange) limitEncodings() {
	h := x.r.Header
	for _, name := range []string{"Accept-Encoding", "Connect-Accept-Encoding", "Range", "If-Range", "Sec-WebSocket-Extensions"} {
		h.Del(name)
	}
	if x.r.Method == http.MethodHead {
		h.Set("Accept-Encoding", "identity")
	}
	if strings.HasPrefix(h.Get("Content-Type"), "application/grpc") {
		h.Set("Grpc-Accept-Encoding", "identity")
	}
}

// report logs the use of a secret.
func (x *exchange) report(secret string, status int, denied bool) {
	const maxPath = 512
	path := x.r.URL.EscapedPath()
	x.i.o.Log(Use{time.Now().UTC(), secret, x.conn.name, x.r.Method, path[:min(len(path), maxPath)], status, denied})
}

// note logs the uses that are not logged yet, those in the body as far as it has been sent.
func (x *exchange) note(status int) {
	x.status = status
	for n, g := range x.inBody {
		if x.body.r.hits[n].Load() > 0 {
			x.used = append(x.used, g.Secret)
		}
	}
	for _, secret := range x.used {
		if !slices.Contains(x.logged, secret) {
			x.logged = append(x.logged, secret)
			x.report(secret, status, false)
		}
	}
}
