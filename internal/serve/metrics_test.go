package serve

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"noid/internal/telemetry"
	"noid/internal/vm"
)

// TestMetrics counts requests, VMs, checkpoints and commands, without a name of a client's in any label, and lets nobody
// ask who may not.
func TestMetrics(t *testing.T) {
	w := newWorldWith(t, testToken, func(o *Options) { o.Metrics = true })
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "named"}, nil)
	w.do(201, "POST", "/v1/vms/named/checkpoints", nil, nil)
	w.refused(404, "not_found", "GET", "/v1/vms/unheard-of", nil)
	w.refused(404, "not_found", "GET", "/v1/unheard-of", nil)
	w.refused(421, "forbidden", "GET", "/v1/vms", nil, "Host: unheard-of")
	w.do(200, "POST", "/v1/vms/named/pause", nil, nil)
	w.refused(401, "forbidden", "GET", "/metrics", nil, "Authorization: ")
	w.refused(413, "usage", "POST", "/v1/vms", strings.Repeat("x", maxBody+1))
	text := w.do(200, "GET", "/metrics", nil, nil)
	for _, line := range []string{`noid_vms{state="paused"} 1`, `noid_vms{state="running"} 0`, `noid_checkpoints 1`, `noid_http_requests_total{operation="create",status="201"} 1`,
		`noid_http_requests_total{operation="create",status="413"} 1`,
		`noid_http_requests_total{operation="inspect",status="404"} 1`, `noid_http_requests_total{operation="unknown",status="404"} 1`, `noid_http_requests_total{operation="refused",status="421"} 1`,
		`noid_http_request_duration_seconds_count{operation="create"} 2`, `noid_checkpoint_downtime_seconds_count 1`, `noid_http_requests_in_flight 1`, `noid_execs_running 0`, `noid_home_up 1`} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	for _, word := range []string{"\nprocess_resident_memory_bytes ", "\nprocess_open_fds ", "\ngo_goroutines ", "\nprocess_start_time_seconds ", "\nnoid_home_filesystem_avail_bytes "} {
		if !strings.Contains(text, word) {
			t.Errorf("no metric %q", word)
		}
	}
	for _, name := range []string{"named", "unheard-of"} {
		if strings.Contains(text, name) {
			t.Errorf("a name of a client's: %q", name)
		}
	}
	w.do(200, "POST", "/v1/vms/named/resume", nil, nil)
	conn := w.dial("/v1/vms/named/exec", map[string]any{"type": "start", "command": "echo ready; sleep 1000"}, "Authorization: Bearer "+testToken)
	w.listen(conn, func(out string) bool { return out == "ready\n" })
	if text := w.do(200, "GET", "/metrics", nil, nil); !strings.Contains(text, "\nnoid_execs_running 1\n") {
		t.Error("a command that runs is not counted")
	}
	conn.CloseNow()
	w.until("the command is not counted any more", func() bool {
		return strings.Contains(w.do(200, "GET", "/metrics", nil, nil), "\nnoid_execs_running 0\n")
	})
	w.until("its WebSocket is", func() bool {
		return strings.Contains(w.do(200, "GET", "/metrics", nil, nil), `noid_http_requests_total{operation="exec_socket",status="101"} 1`)
	})
}

// TestMetricsOfNoHome says of a home that cannot be opened that it cannot, and no numbers. A scraper that goes leaves the
// next one no failure.
func TestMetricsOfNoHome(t *testing.T) {
	var broken atomic.Bool
	w := newWorldWith(t, "", func(o *Options) {
		open := o.Open
		o.Metrics = true
		o.Open = func(ctx context.Context, verb string) (*vm.Manager, error) {
			if broken.Load() {
				return nil, errors.New("no home")
			}
			return open(ctx, verb)
		}
	})
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	gone, leave := context.WithCancel(t.Context())
	leave()
	w.srv.look(gone)
	if n := w.srv.look(t.Context()); n.failed || n.states[vm.Running] != 1 {
		t.Errorf("after a scraper that went: %+v", n)
	}
	broken.Store(true)
	text := w.do(200, "GET", "/metrics", nil, nil)
	if !strings.Contains(text, "\nnoid_home_up 0\n") || strings.Contains(text, "noid_vms") || strings.Contains(text, "noid_checkpoints ") {
		t.Errorf("of a home that cannot be opened: %s", text)
	}
}

// TestNoMetrics has none where nobody has asked for them.
func TestNoMetrics(t *testing.T) {
	newWorld(t, "").refused(404, "not_found", "GET", "/metrics", nil)
}

// TestTraces has a span for each request that a client has not told to leave out.
func TestTraces(t *testing.T) {
	got := make(chan []byte, 100)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- body
	}))
	defer collector.Close()
	e, err := telemetry.NewExporter(telemetry.ExporterOptions{URL: collector.URL, Service: "noid", Version: "test"})
	check(t, err)
	w := newWorldWith(t, "", func(o *Options) { o.Traces = e })
	const trace, client = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	w.do(200, "POST", "/v1/vms/a/exec", map[string]any{"command": "true"}, nil, "Traceparent: 00-"+trace+"-"+client+"-01", "Tracestate: x=y")
	w.do(200, "GET", "/v1/vms", nil, nil, "Traceparent: 00-"+trace+"-"+client+"-00")
	w.refused(404, "not_found", "GET", "/v1/vms/a/files?path="+filepath.Join(t.TempDir(), "secret"), nil)
	check(t, w.stop())
	var spans []map[string]any
	for len(got) > 0 {
		var doc struct {
			ResourceSpans []struct {
				ScopeSpans []struct{ Spans []map[string]any }
			}
		}
		body := <-got
		if strings.Contains(string(body), "secret") {
			t.Errorf("a query is told: %s", body)
		}
		check(t, json.Unmarshal(body, &doc))
		spans = append(spans, doc.ResourceSpans[0].ScopeSpans[0].Spans...)
	}
	if len(spans) != 3 {
		t.Fatalf("%d spans: %v", len(spans), spans)
	}
	attributes := func(s map[string]any) map[string]string {
		all := map[string]string{}
		for _, a := range s["attributes"].([]any) {
			for _, value := range a.(map[string]any)["value"].(map[string]any) {
				all[a.(map[string]any)["key"].(string)] = value.(string)
			}
		}
		return all
	}
	exec, a := spans[1], attributes(spans[1])
	if exec["traceId"] != trace || exec["parentSpanId"] != client || exec["traceState"] != "x=y" || exec["name"] != "POST /v1/vms/{vm}/exec" || exec["kind"] != 2.0 ||
		a["http.route"] != "/v1/vms/{vm}/exec" || a["noid.vm"] != "a" || a["noid.operation"] != "exec" || a["http.response.status_code"] != "200" || a["http.request.method"] != "POST" {
		t.Errorf("exec: %v", exec)
	}
	start, _ := strconv.ParseInt(exec["startTimeUnixNano"].(string), 10, 64)
	if end, _ := strconv.ParseInt(exec["endTimeUnixNano"].(string), 10, 64); start == 0 || end <= start {
		t.Errorf("from %d to %d", start, end)
	}
	if a := attributes(spans[2]); a["http.response.status_code"] != "404" || spans[2]["traceId"] == trace || spans[2]["parentSpanId"] != nil {
		t.Errorf("refused: %v", spans[2])
	}
}
