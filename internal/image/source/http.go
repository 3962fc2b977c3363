package source

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"noid/internal/errs"
)

// How long a registry is waited for.
const (
	answerWait = time.Minute      // for the first byte of an answer
	busyTries  = 4                // requests that a registry answers with 429 or 503
	busyWait   = 90 * time.Second // the longest wait that it may ask for
)

var (
	busyPause = 2 * time.Second // the wait where the registry names none. It doubles
	idleWait  = time.Minute     // for the next bytes of an answer
)

// client is an http.RoundTripper as docker has it: no plain HTTP but to this host, or where the user asked for it; and
// patience with a registry that is busy.
type client struct {
	http.RoundTripper
	insecure bool
}

func newClient(insecure bool) *client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = answerWait
	t.DisableCompression = true // a digest is of the bytes as they are kept
	if insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	return &client{t, insecure}
}

var errPlain = errors.New("plain HTTP is for this host alone")

func (c *client) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !c.insecure && !loopback(req.URL.Hostname()) {
		return nil, errPlain
	}
	for try, pause := 1, busyPause; ; try, pause = try+1, 2*pause {
		ctx, cancel := context.WithCancelCause(req.Context())
		resp, err := c.RoundTripper.RoundTrip(req.WithContext(ctx))
		wait, again := pause, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err == nil {
			wait, again = askedWait(resp, pause)
		}
		if resp == nil {
			cancel(nil)
		} else {
			resp.Body = &idleReader{resp.Body, ctx, cancel}
		}
		if !again || req.Method != http.MethodGet || try == busyTries || wait > busyWait {
			return resp, err
		}
		if resp != nil {
			resp.Body.Close()
		}
		if err := sleep(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// askedWait reports whether a registry may answer otherwise after a wait: the one that it asks for, in seconds or as a
// date, or pause.
func askedWait(resp *http.Response, pause time.Duration) (time.Duration, bool) {
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
	default:
		return 0, false
	}
	text := resp.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at)), true
	}
	return pause, true
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// loopback reports whether host is this one.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

var errIdle = errors.New("no bytes came for too long")

// idleReader is the body of an answer. It ends a transfer that stands still: cancel ends the request.
type idleReader struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (r *idleReader) Read(p []byte) (int, error) {
	timer := time.AfterFunc(idleWait, func() { r.cancel(errIdle) })
	defer timer.Stop()
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF && context.Cause(r.ctx) == errIdle {
		err = errs.WithHint(errIdle, "check the network, and try again: layers go on where they broke")
	}
	return n, err
}

func (r *idleReader) Close() error {
	r.cancel(nil)
	return r.ReadCloser.Close()
}
