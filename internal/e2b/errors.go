package e2b

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"noid/internal/errs"
)

// errUnserved is what noid does not do for E2B's client, errGone a sandbox that does not run.
var (
	errUnserved = errors.New("not served")
	errGone     = errors.New("the sandbox does not run")
)

// unserved says what is not served.
func unserved(what string, args ...any) error {
	return errs.New(errUnserved, "noid does not serve %s of E2B's interface", fmt.Sprintf(what, args...)).Hint("docs/e2b.md says what it serves")
}

// problem is an error as E2B's API and envd have it.
type problem struct {
	Code    int    `json:"code"` // the HTTP status
	Message string `json:"message"`
}

// problemOf is err for a client.
func (h *Handler) problemOf(err error) problem {
	status, text := h.o.Status(err)
	switch {
	case errors.Is(err, errUnserved):
		status = http.StatusNotImplemented
	case errors.Is(err, errs.ErrBusy): // the client tries again
		status = http.StatusServiceUnavailable
	case errors.Is(err, errGone): // as the proxy before envd has it
		status = http.StatusBadGateway
	}
	return problem{status, text}
}

// Refuse answers with err.
func (h *Handler) Refuse(w http.ResponseWriter, err error) {
	p := h.problemOf(err)
	answer(w, p.Code, p)
}

const jsonType = "application/json"

// answer answers with a document.
func answer(w http.ResponseWriter, status int, doc any) {
	b, err := json.Marshal(doc)
	if err != nil { // a bug: all documents are structs of plain types
		status, b = http.StatusInternalServerError, []byte(`{"code":500,"message":"a fault of noid's"}`)
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	w.Write(b)
}
