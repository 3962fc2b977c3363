package serve

import (
	"context"
	"crypto/subtle"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync"
	"time"

	"noid/internal/e2b"
	"noid/internal/errs"
	"noid/internal/page"
	"noid/internal/untrusted"
)

// guarded is l with bounds: of the connections at a time, and of the time that a client takes for a piece of an answer.
func guarded(l net.Listener, slow time.Duration) net.Listener {
	return guardedListener{l, make(chan struct{}, maxConns), slow}
}

type guardedListener struct {
	net.Listener
	slots chan struct{}
	slow  time.Duration
}

// Accept implements net.Listener.
func (l guardedListener) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return guardedConn{conn, sync.OnceFunc(func() { <-l.slots }), l.slow}, nil
}

// guardedConn is a connection that ends when its client does not read.
type guardedConn struct {
	net.Conn
	free func()
	slow time.Duration
}

// Close implements io.Closer.
func (c guardedConn) Close() error {
	c.free()
	return c.Conn.Close()
}

// Write implements io.Writer.
func (c guardedConn) Write(b []byte) (int, error) {
	c.SetWriteDeadline(time.Now().Add(c.slow))
	return c.Conn.Write(b)
}

// ServeHTTP checks who asks, and by what name, before anything else.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.observes() {
		s.observe(w, r)
	} else {
		s.serve(w, r)
	}
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if len(r.TransferEncoding) > 0 { // with a length beside it, a request may end elsewhere for another reader: nothing follows
		h.Set("Connection", "close")
	}
	if r.ContentLength != 0 { // net/http reads what nobody has read of a body before it answers, and has no bound of its own
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.o.slow))
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log(fmt.Sprintf("%s %s: %v", r.Method, untrusted.Line(r.URL.Path, 200), p))
			refuse(w, fmt.Errorf("a fault of noid's: %v", p))
		}
	}()
	if err := s.admit(r); err != nil {
		h.Set("Connection", "close") // who is not let in holds none of the connections
		if e2b.Serves(r) {
			s.e2b.Refuse(w, err)
		} else {
			refuse(w, err)
		}
		return
	}
	if clean := path.Clean("/" + r.URL.Path); clean != r.URL.Path {
		s.unknown(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// open are the paths that need no token: they say nothing of VMs.
func open(r *http.Request) bool {
	return r.Method == http.MethodGet && (r.URL.Path == "/openapi.json" || page.Has(r.URL.Path))
}

// admit refuses what a page of another site can have a browser send (DNS rebinding, cross-site requests), and a request
// without the token.
func (s *server) admit(r *http.Request) error {
	if !ownName(r.Host) {
		return errs.New(errMisdirected, "host %.100q is not this server's name", r.Host).Hint("ask for http://localhost, or with its port")
	}
	if origin := r.Header.Values("Origin"); len(origin) > 1 || len(origin) == 1 && origin[0] != "http://"+r.Host {
		return errs.New(errForbidden, "origin %.100q is not this server's", strings.Join(origin, ", ")).Hint("pages of this server alone may ask it")
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return errs.New(errForbidden, "a request of another site: %.40q", site).Hint("pages of this server alone may ask it")
	}
	if s.o.Token == "" || open(r) || e2b.Admits(r, s.o.Token) {
		return nil
	}
	if subtle.ConstantTimeCompare([]byte(bearer(r)), []byte(s.o.Token)) != 1 {
		return errs.New(errUnauthorized, "no token, or not this server's").Hint("send Authorization: Bearer TOKEN; the file that noid serve has named when it began has the token")
	}
	return nil
}

// bearerProtocol is before the token where a browser can name it for a WebSocket: among the subprotocols.
const bearerProtocol = "noid.bearer."

// bearer is the token of r, "" for none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return token
	}
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for word := range strings.SplitSeq(line, ",") {
			if token, found := strings.CutPrefix(strings.TrimSpace(word), bearerProtocol); found {
				return token
			}
		}
	}
	return ""
}

// ownName reports whether host, perhaps with a port, is a name of this machine's loopback, or the socket's: "noid".
func ownName(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if name == "localhost" || name == "noid" {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.IsLoopback()
}

// unknown answers a request for what is not there.
func (s *server) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); pattern != "/" && path.Clean(r.URL.Path) == r.URL.Path {
			allowed = append(allowed, method)
		}
	}
	if allowed != nil {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		refuse(w, errs.New(errMethod, "%.20q is not for %.200q", r.Method, r.URL.Path).Hint("it takes "+strings.Join(allowed, ", ")))
		return
	}
	refuse(w, errs.New(errs.ErrNotFound, "no path %.200q", r.URL.Path).Hint("/openapi.json has all paths"))
}

// errorLog has net/http tell the operator of what it could not answer.
func (s *server) errorLog() *log.Logger { return log.New(logWriter{s}, "", 0) }

type logWriter struct{ s *server }

func (l logWriter) Write(p []byte) (int, error) {
	l.s.log(untrusted.Line(string(p), 300))
	return len(p), nil
}

// clientKey has, in the context of a connection, that and who is at its other end.
type clientKey struct{}

type client struct {
	name string
	conn net.Conn
}

func withClient(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, clientKey{}, client{clientOf(conn), conn})
}

// connOf is the connection of a request, nil for none.
func connOf(ctx context.Context) net.Conn {
	c, _ := ctx.Value(clientKey{}).(client)
	return c.conn
}

// streams counts the answers that last, of each client.
type streams struct {
	mu sync.Mutex
	n  map[string]int
}

// begin counts one more. The caller calls end when it is over.
func (s *streams) begin(ctx context.Context) (end func(), err error) {
	c, _ := ctx.Value(clientKey{}).(client)
	client := c.name
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n == nil {
		s.n = map[string]int{}
	}
	if s.n[client] >= maxStreams {
		return nil, errs.New(errStreams, "this client has %d streams already", maxStreams).Hint("end some of them")
	}
	s.n[client]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.n[client]--; s.n[client] == 0 {
			delete(s.n, client)
		}
	}, nil
}
