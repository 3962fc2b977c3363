package serve

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/storage"
	"noid/internal/telemetry"
	"noid/internal/vm"
)

// metricsPath is where Prometheus asks.
const metricsPath = "/metrics"

// Bounds of the buckets of durations, in seconds: of requests, from a list to the pull of an image, and of the time that
// a guest stands still for a checkpoint.
var (
	requestBounds  = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
	downtimeBounds = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
)

// metrics are what the server counts.
type metrics struct {
	inFlight, execs atomic.Int64
	requests        telemetry.Counts // by operation and status
	durations       telemetry.Histogram
	downtimes       telemetry.Histogram
	bytes           telemetry.Counts

	mu     sync.Mutex // for the home
	looked time.Time
	home   homeNumbers
}

// homeNumbers are those of the home, as it was looked at last.
type homeNumbers struct {
	states      map[vm.State]int
	checkpoints int
	free, size  float64 // of the file system, in bytes
	failed      bool
}

// homeAge is how old they may be: several scrapers at once cost one look.
const homeAge = time.Second

func (s *server) addMetrics() {
	s.metrics.durations.Bounds, s.metrics.downtimes.Bounds = requestBounds, downtimeBounds
	s.ids = map[string]string{}
	for _, o := range s.ops {
		s.ids[o.method+" /v1"+o.path] = o.id
	}
	s.metrics.bytes.Add(0)
	if s.o.Metrics {
		s.mux.HandleFunc("GET "+metricsPath, s.serveMetrics)
	}
}

func (m *metrics) request(operation string, status int, took time.Duration) {
	m.requests.Add(1, operation, strconv.Itoa(status))
	m.durations.Observe(operation, took.Seconds())
}

// made counts a checkpoint.
func (m *metrics) made(c checkpoint.Record) {
	m.downtimes.Observe("", c.DowntimeMs/1000)
	m.bytes.Add(float64(c.DiskBytes + c.MemoryBytes + c.StateBytes))
}

// openCounted opens the home for a request, whose checkpoints are counted.
func (s *server) openCounted(ctx context.Context, verb string) (*vm.Manager, error) {
	m, err := s.o.Open(ctx, verb)
	if err == nil && s.o.Metrics {
		m.Made = s.metrics.made
	}
	return m, err
}

// running counts a command while it runs.
func (m *metrics) running() (ended func()) {
	m.execs.Add(1)
	return func() { m.execs.Add(-1) }
}

// look looks at the home, unless it was looked at a moment ago.
func (s *server) look(ctx context.Context) homeNumbers {
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	if time.Since(s.metrics.looked) < homeAge {
		return s.metrics.home
	}
	m, err := s.o.Open(ctx, "list")
	if err != nil {
		return homeNumbers{failed: true}
	}
	defer m.Close()
	n := homeNumbers{states: map[vm.State]int{}}
	infos, err := m.List(ctx)
	n.failed = err != nil
	for _, i := range infos {
		n.states[i.State]++
	}
	owners, err := m.Home.CheckpointOwners()
	n.failed = n.failed || err != nil
	for _, owner := range owners {
		ids, _ := m.Home.CheckpointIDs(owner)
		n.checkpoints += len(ids)
	}
	free, freeErr := storage.Free(m.Home.Dir())
	if size, err := storage.Size(m.Home.Dir()); err == nil && freeErr == nil {
		n.free, n.size = float64(free), float64(size)
	}
	if ctx.Err() == nil { // else it may be half of them, for one who does not wait for it
		s.metrics.home, s.metrics.looked = n, time.Now()
	}
	return n
}

func (s *server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	t := &telemetry.Text{}
	t.Family("noid_build_info", "gauge", "The noid that serves.")
	t.Sample(1, "version", s.o.Version)
	s.look(r.Context()).write(t)
	s.metrics.write(t)
	if s.o.Traces != nil {
		t.One("noid_trace_spans_sent_total", "counter", "Spans that the collector has taken.", float64(s.o.Traces.Sent()))
		t.One("noid_trace_spans_dropped_total", "counter", "Spans that were lost: the queue was full, or the collector did not take them.", float64(s.o.Traces.Dropped()))
	}
	t.Process()
	write(w, http.StatusOK, telemetry.ContentType, t.Bytes())
}

func (n homeNumbers) write(t *telemetry.Text) {
	up := 1.0
	if n.failed {
		up = 0
	}
	t.One("noid_home_up", "gauge", "1 if noid's home could be read in whole, else 0.", up)
	if n.states == nil {
		return
	}
	t.Family("noid_vms", "gauge", "VMs of this home by state.")
	for _, state := range []vm.State{vm.Running, vm.Paused, vm.Stopped, vm.Dead, vm.Elsewhere, vm.Broken} {
		t.Sample(float64(n.states[state]), "state", string(state))
	}
	t.One("noid_checkpoints", "gauge", "Checkpoints of this home.", float64(n.checkpoints))
	if n.size > 0 {
		t.One("noid_home_filesystem_size_bytes", "gauge", "Size of the file system that the home is on.", n.size)
		t.One("noid_home_filesystem_avail_bytes", "gauge", "What of it this user may still fill.", n.free)
	}
}

func (m *metrics) write(t *telemetry.Text) {
	t.Family("noid_http_requests_total", "counter", "Requests that have ended, by operation of the OpenAPI document and status.")
	m.requests.Write(t, "operation", "status")
	t.Family("noid_http_request_duration_seconds", "histogram", "How long they took, streams and WebSockets to their end.")
	m.durations.Write(t, "operation")
	t.One("noid_http_requests_in_flight", "gauge", "Requests that are being answered, streams and WebSockets too.", float64(m.inFlight.Load()))
	t.One("noid_execs_running", "gauge", "Commands in guests that clients of this server run now.", float64(m.execs.Load()))
	t.Family("noid_checkpoint_downtime_seconds", "histogram", "How long guests stood still for the checkpoints that this server has made.")
	m.downtimes.Write(t, "")
	t.Family("noid_checkpoint_written_bytes_total", "counter", "What these took of the disk when they were made; blocks that files share count for each.")
	m.bytes.Write(t)
}
