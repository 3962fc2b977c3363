// Package intercept puts secrets into the HTTPS requests of a guest. It ends the guest's TLS for hosts that have a
// secret, and only for those, with a certificate of the home's authority; the request goes on to the host as noid
// resolves it, verified against the host's certificates. So a secret's value never goes where the guest says.
package intercept

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"noid/internal/network/ca"
	"noid/internal/network/grant"
)

const (
	// headerWait bounds handshakes and the headers of a request, idle how long a connection waits for the next request.
	headerWait = 30 * time.Second
	idle       = 3 * time.Minute
	// setWait bounds the wait for the first Set.
	setWait = 10 * time.Second
	// maxHeader bounds the headers of a request and of a response, in bytes.
	maxHeader = 256 << 10
	// maxStreams bounds the requests at a time on a guest's HTTP/2 connection, maxConns the connections to a host, and
	// maxSpare the idle ones.
	maxStreams, maxConns, maxSpare = 128, 256, 32
)

// Use is one request that got a secret's value, or was refused it.
type Use struct {
	Time   time.Time `json:"time"`
	Secret string    `json:"secret"`
	Host   string    `json:"host"`
	Method string    `json:"method"`
	Path   string    `json:"path"`   // without the query; the guest's text
	Status int       `json:"status"` // what the guest was answered
	Denied bool      `json:"denied,omitempty"`
}

// Options are what an Interceptor works with.
type Options struct {
	// Dial connects to "host:port", a host of a grant, as noid resolves it, if the VM's policy allows that.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Keep says why a connection to an address, which Dial has made, is not to go on, or nil. It is asked when that is
	// made and at each Recheck; nil means that all may.
	Keep func(to netip.AddrPort) error
	// Roots are the authorities that vouch for hosts; nil means this host's own.
	Roots *x509.CertPool
	// Awaits says that Set is to come at once: connections to grant.DefaultPort wait for it, up to a bound.
	Awaits bool
	// Log is told of each use. It may be called at the same time, and should not block.
	Log func(Use)
}

// Interceptor handles the connections of one VM's guest.
type Interceptor struct {
	o Options
	tracked
	grants    atomic.Pointer[table]
	set       func()        // closes isSet
	isSet     chan struct{} // closed when there was a Set, or none is awaited
	queue     *queue
	server    *http.Server
	transport *http.Transport
	proxy     *httputil.ReverseProxy
}

// table is replaced as a whole.
type table struct {
	authority *ca.Authority
	grants    []grant.Grant
}

// New returns an Interceptor that has no grants yet. Close it.
func New(o Options) *Interceptor {
	i := &Interceptor{o: o, queue: newQueue(), isSet: make(chan struct{}),
		tracked: tracked{served: map[*peeked]bool{}, dialled: map[*dialled]bool{}}}
	i.grants.Store(&table{})
	if i.set = sync.OnceFunc(func() { close(i.isSet) }); !o.Awaits {
		i.set()
	}
	i.transport = &http.Transport{
		DialContext: i.dial, ForceAttemptHTTP2: true,
		TLSClientConfig:     &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: headerWait, IdleConnTimeout: idle / 2, ExpectContinueTimeout: time.Second,
		MaxConnsPerHost: maxConns, MaxIdleConnsPerHost: maxSpare, MaxResponseHeaderBytes: maxHeader,
	}
	quiet := log.New(io.Discard, "", 0) // it would print a guest's text
	i.proxy = &httputil.ReverseProxy{
		Rewrite: rewrite, Transport: i.transport, FlushInterval: -1, ErrorLog: quiet,
		ModifyResponse: scrubResponse, ErrorHandler: unreachable,
	}
	i.server = &http.Server{
		Handler: i, ErrorLog: quiet, ReadHeaderTimeout: headerWait, IdleTimeout: idle, MaxHeaderBytes: maxHeader,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c.(*tls.Conn).NetConn())
		},
	}
	go i.server.Serve(i.queue)
	return i
}

// Set replaces the grants. They hold for the next request of each connection; requests under way are cut where a grant
// is gone or has other rules. One with another value goes on, and sees neither. authority signs for their hosts.
func (i *Interceptor) Set(authority *ca.Authority, grants []grant.Grant) {
	for _, p := range i.replace(&table{authority, grants}) {
		p.Close()
	}
	i.set()
	i.transport.CloseIdleConnections()
}

// Close ends all connections that Handle serves.
func (i *Interceptor) Close() {
	for _, p := range i.replace(&table{}) {
		p.Close()
	}
	i.server.Close()
	for _, d := range i.connections() {
		d.Close()
	}
	i.transport.CloseIdleConnections()
}

// Wants reports whether connections to port are to go through Handle: a secret's host may be behind them.
func (i *Interceptor) Wants(port uint16) bool {
	select {
	case <-i.isSet:
	default:
		return port == grant.DefaultPort
	}
	for _, g := range i.grants.Load().grants {
		for _, host := range g.Hosts {
			if _, p := grant.Host(host); p == port {
				return true
			}
		}
	}
	return false
}

// Plain reports whether a connection to the host name, in lower case, may be intercepted.
func (i *Interceptor) Plain(name string) bool {
	select {
	case <-i.isSet:
	default:
		return true // it is not known yet
	}
	return slices.ContainsFunc(i.grants.Load().grants, func(g grant.Grant) bool {
		return slices.ContainsFunc(g.Hosts, func(host string) bool { n, _ := grant.Host(host); return n == name })
	})
}

// Handle serves conn, which the guest opened to port, if it asks for a host that has a secret: it returns nil when that
// is over. Any other connection it returns to be relayed, not a byte of it lost; it has CloseWrite if conn has. An
// error means that conn is closed.
func (i *Interceptor) Handle(conn net.Conn, port uint16) (net.Conn, error) {
	p, err := peek(conn, port)
	if err != nil {
		conn.Close()
		return nil, err
	}
	select {
	case <-i.isSet:
	case <-i.queue.closed:
	case <-time.After(setWait):
	}
	t, ok := i.serve(p)
	if !ok {
		return p, nil
	}
	defer i.forget(p)
	secured := tls.Server(p, &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return t.authority.Leaf(p.name) },
	})
	if i.queue.add(secured) {
		<-p.closed
	}
	return nil, p.Close()
}

// of returns the grants for a host.
func (t *table) of(name string, port uint16) (list []grant.Grant) {
	for _, g := range t.grants {
		if g.For(name, port) {
			list = append(list, g)
		}
	}
	return list
}
