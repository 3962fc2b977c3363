// Package e2b serves a part of E2B's interface (https://e2b.dev), so that a program written for E2B's client runs on noid:
// the API of sandboxes, and what envd, the daemon in each sandbox, serves of commands and files, all below Path. It is a
// front end over package vm, and keeps nothing itself: a sandbox is a VM of its name, a command is a job of its guest's
// agent, and the rest (note.go) is kept with the VM.
package e2b

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"noid/internal/vm"
)

// Path is below which all is served: the client's E2B_API_URL and E2B_SANDBOX_URL end in it.
const Path = "/e2b"

// Options say what a Handler has of its server.
type Options struct {
	Open   func(ctx context.Context, verb string) (*vm.Manager, error)
	Driver string // of new VMs; "" for the best that works here
	Token  string // that a request must bear; empty where none need
	// Stream counts one more answer that lasts, for its client. It ends by end, or when the server does, which cancels
	// the context.
	Stream func(context.Context) (ctx context.Context, end func(), err error)
	Body   func(http.ResponseWriter, *http.Request) io.Reader // a request's body, of any length, but not of any slowness
	Status func(error) (status int, text string)              // an error for a client
	Log    func(string)                                       // takes what an operator is to know
	// OfRegistry marks, for Status, that the registry of an image could not be asked. Nil marks nothing.
	OfRegistry func(error) error
	// Running counts a command that a client reads, until ended is called. Nil counts none.
	Running func() (ended func())
}

// Handler serves E2B's interface.
type Handler struct {
	o       Options
	mux     *http.ServeMux
	wake    chan struct{} // has room for one: a sandbox has another end
	pausing sync.Map      // names of sandboxes that are being paused
}

// New returns a Handler. Somebody calls its Expire.
func New(o Options) *Handler {
	h := &Handler{o: o, mux: http.NewServeMux(), wake: make(chan struct{}, 1)}
	h.addSandboxes()
	h.addProcesses()
	h.addFilesystem()
	h.addFiles()
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.Refuse(w, unserved("%.20s %.200s", r.Method, strings.TrimPrefix(r.URL.Path, Path)))
	})
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// The headers that name a sandbox to envd, and envd's port.
const (
	sandboxHeader = "E2b-Sandbox-Id"
	portHeader    = "E2b-Sandbox-Port"
	tokenHeader   = "X-Access-Token"
	keyHeader     = "X-API-Key"
	envdPort      = "49983"
)

// Serves reports whether r is for a Handler.
func Serves(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, Path+"/") }

// Admits reports whether r is E2B's and bears a token: the server's as the API key, or for envd the one that a sandbox
// has of that.
func Admits(r *http.Request, token string) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, Path+"/")
	if !ok {
		return false
	}
	if same(r.Header.Get(keyHeader), token) {
		return true
	}
	service, _, _ := strings.Cut(rest, "/")
	switch service {
	case "files", "health", processService, filesystemService:
		id := r.Header.Get(sandboxHeader)
		return id != "" && same(r.Header.Get(tokenHeader), accessToken(token, id))
	}
	return false
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// accessToken is the token of the sandbox id for envd. It says nothing of the server's.
func accessToken(token, id string) string {
	mac := hmac.New(sha256.New, []byte(token))
	io.WriteString(mac, "e2b envd "+id)
	return hex.EncodeToString(mac.Sum(nil))
}

// open opens the home for one request.
func (h *Handler) open(ctx context.Context, verb string) (*vm.Manager, error) {
	m, err := h.o.Open(ctx, verb)
	if err == nil {
		m.Warn, m.Notice = h.log, h.log
	}
	return m, err
}

func (h *Handler) log(text string) {
	if h.o.Log != nil {
		h.o.Log("e2b: " + text)
	}
}

// bodyWait bounds how long a client takes for the body of a document.
const bodyWait = 30 * time.Second

// readAll reads a body of at most most bytes, within bodyWait. After an error net/http may read the rest of it, within
// that time.
func readAll(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(bodyWait))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err == nil {
		control.SetReadDeadline(time.Time{})
	}
	return body, err
}
