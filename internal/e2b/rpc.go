package e2b

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"noid/internal/errs"
	"noid/internal/vm"
)

// envd speaks the Connect protocol (https://connectrpc.com/docs/protocol), and E2B's clients its JSON: a unary call is a
// POST of a document; of a stream each message has five bytes before it, flags and length.

// maxMessage bounds a message of a client, in bytes: about 3 MiB of input for a command.
const maxMessage = 4 << 20

// The flags of a stream's message.
const (
	flagCompressed = 1
	flagEnd        = 2 // the last one, of the server
)

const streamType = "application/connect+json"

// Connect's names of errors, and the HTTP status of each in a unary answer.
var codes = map[string]int{
	"canceled": 499, "unknown": 500, "invalid_argument": 400, "deadline_exceeded": 504, "not_found": 404, "already_exists": 409,
	"permission_denied": 403, "resource_exhausted": 429, "failed_precondition": 400, "aborted": 409, "unimplemented": 501, "internal": 500,
	"unavailable": 503, "unauthenticated": 401,
}

// rpcError is an error as Connect has it.
type rpcError struct {
	Code    string `json:"code"`
	Message string `json:"message,omitempty"`
}

// fault is an error of a certain code.
type fault struct {
	code string
	error
}

func (f fault) Unwrap() error { return f.error }

func faultf(code, format string, args ...any) error { return fault{code, fmt.Errorf(format, args...)} }

// rpcErrorOf is err as Connect has it.
func (h *Handler) rpcErrorOf(err error) rpcError {
	status, text := h.o.Status(err)
	code := "unknown"
	if f, ok := errors.AsType[fault](err); ok {
		code = f.code
	} else if status == http.StatusTooManyRequests {
		code = "resource_exhausted"
	} else {
		for _, k := range []struct {
			is   error
			code string
		}{{errUnserved, "unimplemented"}, {vm.ErrGuestFull, "failed_precondition"}, {errs.ErrUsage, "invalid_argument"}, {errs.ErrNotFound, "not_found"}, {errs.ErrExists, "already_exists"},
			{errs.ErrBusy, "resource_exhausted"}, {errs.ErrState, "failed_precondition"}, {errs.ErrTimeout, "deadline_exceeded"}, {errs.ErrHost, "unavailable"},
			{context.Canceled, "canceled"}} {
			if errors.Is(err, k.is) {
				code = k.code
				break
			}
		}
	}
	return rpcError{code, text}
}

// call is a request to a sandbox's envd.
type call struct {
	m       *vm.Manager
	r       *http.Request
	id      string  // the sandbox's
	info    vm.Info // of the VM, which runs
	user    string  // who acts; "" for the sandbox's own
	timeout time.Duration
}

// guest opens the home, and has run serve a request to a sandbox that runs.
func (h *Handler) guest(r *http.Request, run func(context.Context, *call) error) error {
	c := &call{r: r, id: r.Header.Get(sandboxHeader)}
	if port := r.Header.Get(portHeader); port != "" && port != envdPort {
		return unserved("port %.20q of a sandbox", port)
	}
	if c.id == "" {
		return errs.New(errs.ErrUsage, "no header %s", sandboxHeader).Hint("set E2B_SANDBOX_URL to this server, with " + Path)
	}
	if name, _, ok := r.BasicAuth(); ok {
		c.user = name
	}
	if text := r.Header.Get("Connect-Timeout-Ms"); text != "" {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ms < 0 || ms > maxTimeout*1000 {
			return errs.New(errs.ErrUsage, "Connect-Timeout-Ms: %.20q is not from 0 to %d", text, maxTimeout*1000)
		}
		c.timeout = time.Duration(ms) * time.Millisecond
	}
	m, err := h.open(r.Context(), "exec")
	if err != nil {
		return err
	}
	defer m.Close()
	if c.m = m; vm.CheckName(c.id) != nil {
		return gone(c.id, "no vm can have that name")
	}
	c.info, err = m.Info(r.Context(), c.id)
	switch {
	case errors.Is(err, errs.ErrNotFound):
		return gone(c.id, "there is no vm of that name")
	case err != nil:
		return err
	case c.info.State != vm.Running:
		return gone(c.id, "the vm is "+string(c.info.State))
	}
	return run(r.Context(), c)
}

// gone says, in the words that the client looks for, that a sandbox does not run.
func gone(id, why string) error {
	return errs.New(errGone, "the sandbox %.80q was not found running: %s", id, why)
}

// env is of all commands in the sandbox.
func (c *call) env() map[string]string {
	if n := noteOf(c.info.Note); n != nil {
		return n.Env
	}
	return nil
}

// unary adds a procedure with one message each way.
func unary[In, Out any](h *Handler, service, name string, run func(context.Context, *call, In) (Out, error)) {
	h.mux.HandleFunc("POST "+Path+"/"+service+"/"+name, func(w http.ResponseWriter, r *http.Request) {
		var out Out
		err := contentType(r, jsonType)
		if err == nil {
			err = h.guest(r, func(ctx context.Context, c *call) error {
				var in In
				body, err := readAll(w, r, maxMessage)
				if err == nil {
					err = json.Unmarshal(body, &in)
				}
				if err != nil {
					return faultf("invalid_argument", "the message: %v", err)
				}
				if c.timeout > 0 {
					var stop context.CancelFunc
					ctx, stop = context.WithTimeout(ctx, c.timeout)
					defer stop()
				}
				out, err = run(ctx, c, in)
				return err
			})
		}
		if err != nil {
			h.refuseCall(w, err)
			return
		}
		answer(w, http.StatusOK, out)
	})
}

// contentType refuses a request of another type.
func contentType(r *http.Request, want string) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != want {
		return unserved("messages of the type %.100q, but %s", r.Header.Get("Content-Type"), want)
	}
	if e := r.Header.Get("Content-Encoding") + r.Header.Get("Connect-Content-Encoding"); e != "" && e != "identity" {
		return unserved("messages compressed with %.40q", e)
	}
	return nil
}

// refuseCall answers a call that has no stream with an error.
func (h *Handler) refuseCall(w http.ResponseWriter, err error) {
	if errors.Is(err, errGone) { // not envd's word
		h.Refuse(w, err)
		return
	}
	e := h.rpcErrorOf(err)
	answer(w, codes[e.Code], e)
}

// serverStream adds a procedure that answers one message with many.
func serverStream[In any](h *Handler, service, name string, run func(context.Context, *call, In, *stream) error) {
	h.addStream(service, name, func(ctx context.Context, c *call, in *messages, out *stream) error {
		var message In
		out.readUntil(ctx, time.Now().Add(bodyWait))
		if err := in.next(ctx, &message); err != nil {
			return err
		}
		out.readUntil(ctx, time.Time{})
		return run(ctx, c, message, out)
	})
}

// addStream adds a procedure with messages. What it returns ends its stream.
func (h *Handler) addStream(service, name string, run func(context.Context, *call, *messages, *stream) error) {
	h.mux.HandleFunc("POST "+Path+"/"+service+"/"+name, func(w http.ResponseWriter, r *http.Request) {
		err := contentType(r, streamType)
		if err == nil {
			err = h.guest(r, func(ctx context.Context, c *call) error {
				ctx, end, err := h.o.Stream(ctx)
				if err != nil {
					return err
				}
				defer end()
				out := &stream{w: w, control: http.NewResponseController(w)}
				defer func() { out.control.SetReadDeadline(time.Now().Add(bodyWait)) }() // net/http reads what is left of the body
				defer out.readWhile(ctx)()
				out.readUntil(ctx, time.Time{}) // a client may have nothing to say for long
				out.end(h, run(ctx, c, &messages{r: r.Body}, out))
				return nil
			})
		}
		if err != nil {
			h.refuseCall(w, err)
		}
	})
}

// messages are those of a client.
type messages struct{ r io.Reader }

// next reads one into m. io.EOF is that there are no more. When readWhile has ended it, the error is why ctx has.
func (s *messages) next(ctx context.Context, m any) error {
	var head [5]byte
	if _, err := io.ReadFull(s.r, head[:]); err == io.EOF {
		return err
	} else if err != nil && ctx.Err() != nil {
		return ended(ctx)
	} else if err != nil {
		return faultf("invalid_argument", "a message: %w", err)
	}
	size := binary.BigEndian.Uint32(head[1:])
	switch {
	case head[0]&flagCompressed != 0:
		return unserved("compressed messages")
	case size > maxMessage:
		return faultf("resource_exhausted", "a message of %d bytes, %d are the most", size, maxMessage)
	}
	body, err := io.ReadAll(io.LimitReader(s.r, int64(size))) // which takes memory as bytes arrive
	if err == nil && len(body) < int(size) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = json.Unmarshal(body, m)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return ended(ctx)
	case err != nil:
		return faultf("invalid_argument", "a message: %w", err)
	}
	return nil
}

// ended is why ctx has ended: the time of the call is over, or the server ends.
func ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return faultf("deadline_exceeded", "the time of the call is over")
	}
	return faultf("unavailable", "the call was ended: %w", context.Cause(ctx))
}

// stream is the messages of an answer. It may be used by several goroutines.
type stream struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
	failed  error
}

// longAgo is the deadline of a read that is to end at once.
var longAgo = time.Unix(1, 0)

// readWhile has reads of the client's messages end when ctx does, until stop is called.
func (s *stream) readWhile(ctx context.Context) (stop func()) {
	after := context.AfterFunc(ctx, func() { s.control.SetReadDeadline(longAgo) })
	return func() { after() }
}

// readUntil bounds reads of the client's messages, the zero time not at all, but for readWhile.
func (s *stream) readUntil(ctx context.Context, t time.Time) {
	s.control.SetReadDeadline(t)
	if ctx.Err() != nil { // before: readWhile's deadline may be gone
		s.control.SetReadDeadline(longAgo)
	}
}

// send sends a message at once.
func (s *stream) send(m any) error { return s.write(0, m) }

func (s *stream) write(flags byte, m any) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", streamType)
	}
	message := binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(body)))
	if _, s.failed = s.w.Write(append(message, body...)); s.failed == nil {
		s.failed = s.control.Flush()
	}
	return s.failed
}

// end sends the last message, which says how the call ended.
func (s *stream) end(h *Handler, err error) {
	var last struct {
		Error *rpcError `json:"error,omitempty"`
	}
	if err != nil {
		e := h.rpcErrorOf(err)
		last.Error = &e
	}
	s.write(flagEnd, last)
}

// data is bytes in the JSON of protocol buffers, which decoders take with and without padding, and of either alphabet.
type data []byte

// UnmarshalJSON implements json.Unmarshaler.
func (d *data) UnmarshalJSON(b []byte) (err error) {
	var text string
	if err = json.Unmarshal(b, &text); err != nil {
		return err
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	*d, err = base64.RawStdEncoding.DecodeString(text)
	return err
}
