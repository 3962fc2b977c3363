package intercept

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
)

// exchangeKey is the key of a request's *exchange in its context.
type exchangeKey struct{}

// rewrite makes of the guest's request the one that is sent. Nothing of it changes but the secrets: what the proxy drops
// as a good proxy should, the guest's own client had put there.
func rewrite(p *httputil.ProxyRequest) {
	x := p.In.Context().Value(exchangeKey{}).(*exchange)
	p.Out.URL.Scheme, p.Out.URL.Host = "https", fmt.Sprintf("%s:%d", x.conn.name, x.conn.port)
	p.Out.URL.RawQuery, p.Out.Host = p.In.URL.RawQuery, p.In.Host
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values := p.In.Header[name]; values != nil {
			p.Out.Header[name] = values
		}
	}
}

// scrubResponse has the values of secrets taken out of the body and trailers of a response.
func scrubResponse(resp *http.Response) error {
	x := resp.Request.Context().Value(exchangeKey{}).(*exchange)
	encoding := ""
	for _, name := range []string{"Content-Encoding", "Grpc-Encoding", "Connect-Content-Encoding"} {
		if e := strings.ToLower(resp.Header.Get(name)); e != "" && e != "identity" {
			encoding = e
		}
	}
	empty := resp.Request.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
	if encoding != "" && !empty {
		return ownError{fmt.Errorf("the response is encoded as %q, in which noid cannot look for secrets", encoding)}
	}
	if len(resp.Trailer) > 0 {
		resp.Header.Del("Content-Length") // HTTP/2 has both; in HTTP/1.1 there would be no trailers then
	}
	b := newMasked(resp.Body, x.hidden)
	b.atEnd = func() { scrub(resp.Trailer, x.hidden()) }
	if server, ok := resp.Body.(io.Writer); ok && resp.StatusCode == http.StatusSwitchingProtocols {
		scrub(resp.Header, x.hidden()) // the proxy writes it past WriteHeader
		resp.Header.Del("Alt-Svc")
		resp.Status = "" // the server's own words: the standard ones go out
		x.note(resp.StatusCode)
		resp.Body = struct {
			*body
			io.Writer
		}{b, server}
		return nil
	}
	resp.Body = b
	return nil
}

// ownError is an error whose text has nothing of the server's.
type ownError struct{ error }

// unreachable answers for a server that did not. What a server said that is no HTTP may have a value in it: it is not shown.
func unreachable(w http.ResponseWriter, _ *http.Request, err error) {
	why := "the host's answer is no HTTP, or broke off"
	_, own := errors.AsType[ownError](err)
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); own || untrusted {
		why = err.Error()
	}
	refuse(w, http.StatusBadGateway, why)
}

// scrub takes the values of secrets out of headers.
func scrub(h http.Header, masks [][2]string) {
	for _, values := range h {
		for n, value := range values {
			values[n] = replaceAll(masks, value)
		}
	}
}

func (x *exchange) Header() http.Header { return x.w.Header() }

// Unwrap lets http.ResponseController reach the server's own writer.
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }

func (x *exchange) Write(data []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	return x.w.Write(data)
}

// WriteHeader writes a status, also of the kind 1xx, with headers that have no values of secrets.
func (x *exchange) WriteHeader(status int) {
	scrub(x.w.Header(), x.hidden())
	x.w.Header().Del("Alt-Svc") // HTTP/3 would go past the interception
	if status >= http.StatusOK {
		x.note(status)
		if x.w.Header()["Content-Type"] == nil {
			x.w.Header()["Content-Type"] = nil // the server would guess one
		}
	}
	x.w.WriteHeader(status)
}
