package serve

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"syscall"

	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// Problem is an error, as RFC 9457 has it.
type Problem struct {
	Type   string `json:"type" jsonschema:"urn:noid:error: and the kind"`
	Title  string `json:"title"`
	Status int    `json:"status" min:"400" max:"599"`
	Detail string `json:"detail" jsonschema:"what went wrong, with the names of things"`
	Kind   string `json:"kind" enum:"usage,not_found,exists,busy,state,timeout,host,failed,interrupted,forbidden" jsonschema:"the kind of error; noid's exit codes tell the same ones"`
	Hint   string `json:"hint,omitempty" jsonschema:"the cure"`
}

// kinds are the kinds of error, of which the first that fits counts.
var kinds = []struct {
	is          error
	kind, title string
	status      int
}{
	{errUnauthorized, "forbidden", "Not allowed", http.StatusUnauthorized},
	{errForbidden, "forbidden", "Not allowed", http.StatusForbidden},
	{errMisdirected, "forbidden", "Not this server's name", http.StatusMisdirectedRequest},
	{errMethod, "usage", "Method not allowed", http.StatusMethodNotAllowed},
	{errTooLarge, "usage", "Too large", http.StatusRequestEntityTooLarge},
	{errMediaType, "usage", "Not the media type that this takes", http.StatusUnsupportedMediaType},
	{errRange, "usage", "Not in the file", http.StatusRequestedRangeNotSatisfiable},
	{errKeyReused, "usage", "Another request had this Idempotency-Key", http.StatusUnprocessableEntity},
	{errInterrupted, "interrupted", "Interrupted before", http.StatusConflict},
	{errUpgrade, "usage", "A WebSocket", http.StatusUpgradeRequired},
	{errStreams, "busy", "Too many streams", http.StatusTooManyRequests},
	{errClosing, "interrupted", "The server ends", http.StatusServiceUnavailable},
	{vm.ErrGuestFull, "failed", "No space left in the guest", http.StatusInsufficientStorage},
	{errs.ErrUsage, "usage", "Wrong usage", http.StatusBadRequest},
	{errs.ErrNotFound, "not_found", "Not found", http.StatusNotFound},
	{errs.ErrExists, "exists", "Exists already", http.StatusConflict},
	{errs.ErrBusy, "busy", "Busy", http.StatusConflict},
	{errs.ErrState, "state", "Not in the state that this needs", http.StatusConflict},
	{errs.ErrTimeout, "timeout", "Timed out", http.StatusGatewayTimeout},
	{syscall.ENOSPC, "host", "No space left", http.StatusInsufficientStorage},
	{syscall.EDQUOT, "host", "No space left", http.StatusInsufficientStorage},
	{errs.ErrHost, "host", "This host cannot", http.StatusServiceUnavailable},
	{context.Canceled, "interrupted", "Interrupted", http.StatusServiceUnavailable},
	{errRegistry, "failed", "The registry could not be asked", http.StatusBadGateway},
	{vm.ErrGuest, "failed", "Failed in the guest", http.StatusUnprocessableEntity},
	{nil, "failed", "Failed", http.StatusInternalServerError},
}

// What the server itself refuses.
var (
	errUnauthorized = errors.New("unauthorized")
	errForbidden    = errors.New("forbidden")
	errMisdirected  = errors.New("misdirected")
	errMethod       = errors.New("method not allowed")
	errTooLarge     = errors.New("too large")
	errMediaType    = errors.New("unsupported media type")
	errRange        = errors.New("range not satisfiable")
	errKeyReused    = errors.New("key reused")
	errInterrupted  = errors.New("interrupted before")
	errUpgrade      = errors.New("upgrade required")
	errRegistry     = errors.New("registry")
	errStreams      = errors.New("too many streams")
	errClosing      = errors.New("the server ends")
)

// problemOf is err for a client. Of several errors the first tells the kind.
func problemOf(err error) Problem {
	list := errs.List(err)
	for _, k := range kinds {
		if k.is == nil || errors.Is(list[0], k.is) {
			var texts []string
			for _, err := range list {
				texts = append(texts, untrusted.Text([]byte(err.Error())))
			}
			return Problem{Type: "urn:noid:error:" + strings.ReplaceAll(k.kind, "_", "-"), Title: k.title, Status: k.status,
				Detail: strings.TrimSpace(strings.Join(texts, "\n")), Kind: k.kind, Hint: hint(errs.Hint(err))}
		}
	}
	panic("unreachable: the last kind fits all")
}

// refuse answers with err.
func refuse(w http.ResponseWriter, err error) {
	p := problemOf(err)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="noid"`)
	}
	write(w, p.Status, problemType, encode(p))
}

const (
	problemType = "application/problem+json"
	jsonType    = "application/json"
	eventsType  = "text/event-stream"
	bytesType   = "application/octet-stream"
	tarType     = "application/x-tar"
	socketType  = "websocket"
	textType    = "text/plain; charset=utf-8"
)

// encode is doc as JSON, in a line.
func encode(doc any) []byte {
	b, err := json.Marshal(doc)
	if err != nil { // a bug: all documents are structs of plain types
		b, _ = json.Marshal(problemOf(err))
	}
	return append(b, '\n')
}

// write answers with a document.
func write(w http.ResponseWriter, status int, mediaType string, doc []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	w.Write(doc)
}
