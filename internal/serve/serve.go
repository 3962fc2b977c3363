// Package serve gives noid's verbs to programs over HTTP: JSON below /v1, described by an OpenAPI document that is made of
// the very Go types (operation.go). It is a front end over package vm, as the command line is, and has no state of its
// own but the answers to requests with an Idempotency-Key, in memory.
package serve

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"noid/internal/e2b"
	"noid/internal/telemetry"
	"noid/internal/vm"
)

// Options say what Serve serves.
type Options struct {
	// Open opens the home for one request, of the verb. The request closes the manager.
	Open    func(ctx context.Context, verb string) (*vm.Manager, error)
	Version string // noid's own
	Driver  string // of new VMs; "" for the best that works here
	// Token is what a request must bear. Empty where whoever can connect may ask: see Listen.
	Token string
	// Metrics says whether /metrics is there, and Traces is where spans of requests go. Nil for nowhere. Serve runs it.
	Metrics bool
	Traces  *telemetry.Exporter
	// Log takes what an operator is to know, a line each. Nil drops it.
	Log func(string)
	// header, slow, grace and last are headerWait, slowWait, graceWait and shutdownWait, if not 0.
	header, slow, grace, last time.Duration
}

// Bounds of what clients have of the server.
const (
	maxHeader     = 16 << 10 // bytes; net/http adds 4 KiB
	maxBody       = 1 << 20  // bytes of a JSON document
	maxConns      = 512
	maxStreams    = 128 // of one client, answers that last: events and WebSockets
	headerWait    = 10 * time.Second
	idleWait      = 2 * time.Minute
	slowWait      = 30 * time.Second // between two pieces of a body, or of an answer
	graceWait     = 5 * time.Second  // for requests to end by themselves when the server is to end
	shutdownWait  = 40 * time.Second // and after they were cancelled: package vm cleans up for 30 s, and a body may take 30
	keepAliveTime = 15 * time.Second // between two events of a stream on which nothing happens
)

// Serve serves requests on l until ctx ends. Then it takes no new ones, ends streams, waits a little for requests to end,
// and cancels those that go on. Those that do not heed that are cut after a while, with an error.
func Serve(ctx context.Context, o Options, l net.Listener) error {
	s := newServer(o)
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	srv := &http.Server{Handler: s, ReadHeaderTimeout: s.o.header, IdleTimeout: idleWait, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return base },
		ConnContext: withClient, ErrorLog: s.errorLog()}
	defer s.trace()()
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(guarded(l, s.o.slow)) }()
	defer s.expire(ctx)()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	close(s.closing)
	grace, stop := context.WithTimeout(base, s.o.grace)
	defer stop()
	err := srv.Shutdown(grace)
	if err != nil {
		cancel(errClosing)
		last, stop := context.WithTimeout(context.WithoutCancel(base), s.o.last)
		defer stop()
		if err = srv.Shutdown(last); err != nil {
			srv.Close()
			err = fmt.Errorf("requests did not end within %v after they were cancelled", s.o.last)
		}
	}
	s.hijacked.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// expire ends sandboxes whose time is over, until stop is called, which waits for the one that is just being ended.
func (s *server) expire(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { s.e2b.Expire(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// server is one Serve.
type server struct {
	o        Options
	instance string
	mux      *http.ServeMux
	ops      []*op
	ids      map[string]string // of operations, by their patterns in mux
	closing  chan struct{}     // closed when the server is to end
	hijacked sync.WaitGroup
	answers  answers
	streams  streams
	metrics  metrics
	e2b      *e2b.Handler
}

// newServer has all operations, in the order of the OpenAPI document.
func newServer(o Options) *server {
	o.header, o.slow = cmp.Or(o.header, headerWait), cmp.Or(o.slow, slowWait)
	o.grace, o.last = cmp.Or(o.grace, graceWait), cmp.Or(o.last, shutdownWait)
	s := &server{o: o, instance: rand.Text(), mux: http.NewServeMux(), closing: make(chan struct{})}
	s.mux.HandleFunc("/", s.unknown)
	s.addVMs()
	s.addExec()
	s.addSockets()
	s.addFiles()
	s.addCheckpoints()
	s.addTime()
	s.addImages()
	s.addNetwork()
	s.addJobs()
	s.addServer()
	s.addPage()
	s.addMetrics()
	s.addE2B()
	return s
}

func (s *server) log(text string) {
	if s.o.Log != nil {
		s.o.Log(text)
	}
}
