package firecracker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"noid/internal/untrusted"
	"noid/internal/vmm"
)

const (
	// maxBody bounds an answer. The longest that is asked for is a fault message of a few hundred bytes.
	maxBody = 64 << 10
	// callTimeout bounds a call that does little. It is long: the host may be busy, and the API serves one at a time.
	callTimeout = 30 * time.Second
)

// apiError is a refusal by Firecracker.
type apiError struct {
	status int
	fault  string // printable
}

func (e *apiError) Error() string {
	if e.fault == "" {
		return fmt.Sprintf("firecracker answered %d %s", e.status, http.StatusText(e.status))
	}
	return "firecracker says: " + e.fault
}

// client talks to the Firecracker that listens in dir.
type client struct {
	http http.Client
	dir  string
}

// newClient does not connect yet.
func newClient(dir string) *client {
	c := &client{dir: dir}
	c.http.Transport = &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		DisableCompression:     true,
		MaxResponseHeaderBytes: 16 << 10,
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

func (c *client) close() { c.http.CloseIdleConnections() }

func (c *client) dial(ctx context.Context) (net.Conn, error) { return vmm.Dial(ctx, c.dir, SocketFile) }

// probe says whether something accepts connections on the API socket.
func (c *client) probe(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err == nil {
		err = conn.Close()
	}
	return err
}

// call makes one request within limit. A non-nil out is filled from the answer's JSON. A refusal is an *apiError.
func (c *client) call(ctx context.Context, limit time.Duration, method, path string, body, out any) error {
	ctx, cancel := bounded(ctx, limit)
	defer cancel()
	err := c.roundTrip(ctx, method, path, body, out)
	if err == nil {
		return nil
	}
	if _, refused := errors.AsType[*apiError](err); !refused && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("%s %s: %w", method, path, err)
}

func (c *client) roundTrip(ctx context.Context, method, path string, body, out any) error {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, reader)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return errors.Unwrap(err) // *url.Error, whose method and made-up host say nothing more
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading the answer: %w", err)
	case len(data) > maxBody:
		return fmt.Errorf("the answer is longer than %d bytes", maxBody)
	case resp.StatusCode/100 != 2:
		var fault struct {
			Message string `json:"fault_message"`
		}
		_ = json.Unmarshal(data, &fault) // without a message the status must do
		return &apiError{resp.StatusCode, untrusted.End([]byte(fault.Message), 2000)}
	case out != nil:
		if err := json.Unmarshal(data, out); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
	}
	return nil
}

func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return vmm.Bounded(ctx, limit, "the API socket")
}
