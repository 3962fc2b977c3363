package telemetry

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestText compares metrics with what the format's specification has of them. A real parser reads them in the tests of
// the Python package.
func TestText(t *testing.T) {
	var text Text
	text.Family("a_total", "counter", "Back\\slash and\nline.")
	var counts Counts
	counts.Add(1, "x", "200")
	counts.Add(2, "x", "200")
	counts.Add(1, "\"q\"\\\n\xff", "404")
	counts.Write(&text, "operation", "status")
	text.One("b", "gauge", "One.", 1.5e9)
	h := Histogram{Bounds: []float64{.1, 1}}
	for _, seconds := range []float64{.1, .5, .5, 7} {
		h.Observe("x", seconds)
	}
	text.Family("c_seconds", "histogram", "Durations.")
	h.Write(&text, "operation")
	want := `# HELP a_total Back\\slash and\nline.
# TYPE a_total counter
a_total{operation="\"q\"\\\n` + "\uFFFD" + `",status="404"} 1
a_total{operation="x",status="200"} 3
# HELP b One.
# TYPE b gauge
b 1.5e+09
# HELP c_seconds Durations.
# TYPE c_seconds histogram
c_seconds_bucket{operation="x",le="0.1"} 1
c_seconds_bucket{operation="x",le="1"} 3
c_seconds_bucket{operation="x",le="+Inf"} 4
c_seconds_sum{operation="x"} 8.1
c_seconds_count{operation="x"} 4
`
	if diff := cmp.Diff(want, string(text.Bytes())); diff != "" {
		t.Error(diff)
	}
}

// TestParseParent takes what the specification of traceparent has as well-formed, and nothing else.
func TestParseParent(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for text, want := range map[string]Parent{
		"00-" + trace + "-" + span + "-01":                         {Trace: trace, Span: span, State: "a=b"},
		"00-" + trace + "-" + span + "-00":                         {Trace: trace, Span: span, State: "a=b", Unsampled: true},
		"cc-" + trace + "-" + span + "-01-later":                   {Trace: trace, Span: span, State: "a=b"},
		"00-" + trace + "-" + span + "-01-later":                   {},
		"ff-" + trace + "-" + span + "-01":                         {},
		"00-" + strings.ToUpper(trace) + "-" + span + "-01":        {},
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01":       {},
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01":      {},
		"00-" + trace + "-" + span:                                 {},
		"":                                                         {},
		"00-" + trace + "-" + span + "-1":                          {},
		"00-" + trace[1:] + "-" + span + "-01":                     {},
		"00-" + trace + "-" + span + "-01" + "-":                   {},
		strings.Repeat("00-"+trace+"-"+span+"-01", 1000) + "\x00x": {},
	} {
		if got := ParseParent(text, "a=b"); got != want {
			t.Errorf("%.80q: %+v", text, got)
		}
	}
	if got := ParseParent("00-"+trace+"-"+span+"-01", strings.Repeat("x", maxState+1)); got.State != "" {
		t.Error("a tracestate without bound")
	}
}

// TestParseHeaders reads the variable as OpenTelemetry writes it.
func TestParseHeaders(t *testing.T) {
	got, err := ParseHeaders(" api-key = a%3Db ,X=1,")
	if diff := cmp.Diff(map[string]string{"api-key": "a=b", "X": "1"}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, bad := range []string{"x", "=x", "a b=c", "a=%zz", "a=%0a", "a:b=c"} {
		if got, err := ParseHeaders(bad); err == nil || strings.Contains(err.Error(), "zz") {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}

// collector is a fake of one: it answers with each of statuses, and then takes all.
func collector(t *testing.T, statuses ...int) (url string, got chan map[string]any) {
	got = make(chan map[string]any, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(statuses) > 0 {
			w.WriteHeader(statuses[0])
			statuses = statuses[1:]
			return
		}
		var doc map[string]any
		if err := json.Unmarshal(body, &doc); err != nil || r.URL.Path != "/base/v1/traces" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Key") != "k" {
			t.Errorf("%s %v: %v, %s", r.URL, r.Header, err, body)
		}
		got <- doc
	}))
	t.Cleanup(s.Close)
	return s.URL + "/base/", got
}

func exporter(t *testing.T, url string, log func(string)) *Exporter {
	e, err := NewExporter(ExporterOptions{URL: url, Headers: map[string]string{"Key": "k"}, Service: "s", Version: "1", Instance: "i", Log: log, every: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestExport sends spans, again where the collector was busy, and the last ones at the end.
func TestExport(t *testing.T) {
	url, got := collector(t, 503, 429)
	logs := make(chan string, 10)
	e := exporter(t, url, func(s string) { logs <- s })
	s := NewSpan(ParseParent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=b"), time.Unix(1, 5))
	s.Name, s.End, s.Attributes, s.Status.Code = "GET /", 2e9, []Attribute{Attr("a", "b"), Number("n", 200)}, StatusError
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() { e.Run(ctx); close(ended) }()
	e.Add(s)
	want := map[string]any{"resourceSpans": []any{map[string]any{
		"resource": map[string]any{"attributes": []any{
			map[string]any{"key": "service.name", "value": map[string]any{"stringValue": "s"}},
			map[string]any{"key": "service.version", "value": map[string]any{"stringValue": "1"}},
			map[string]any{"key": "service.instance.id", "value": map[string]any{"stringValue": "i"}}}},
		"scopeSpans": []any{map[string]any{"scope": map[string]any{"name": "noid/serve", "version": "1"}, "spans": []any{map[string]any{
			"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": s.ID, "parentSpanId": "00f067aa0ba902b7", "traceState": "a=b", "name": "GET /", "kind": 2.0,
			"startTimeUnixNano": "1000000005", "endTimeUnixNano": "2000000000", "status": map[string]any{"code": 2.0},
			"attributes": []any{map[string]any{"key": "a", "value": map[string]any{"stringValue": "b"}}, map[string]any{"key": "n", "value": map[string]any{"intValue": "200"}}}}}}}}}}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Error(diff)
	}
	if len(logs) != 1 {
		t.Errorf("%d lines for the operator", len(logs))
	}
	e.Add(NewSpan(Parent{}, time.Now()))
	cancel()
	<-ended
	if len(got) != 1 || e.Sent() != 2 || e.Dropped() != 0 {
		t.Errorf("at the end: %d batches, %d sent, %d dropped", len(got), e.Sent(), e.Dropped())
	}
}

// TestDrops drops what a collector does not take, without anybody waiting, and counts that.
func TestDrops(t *testing.T) {
	url, _ := collector(t, 400)
	e := exporter(t, url, nil)
	for range maxQueue + 7 { // nobody sends yet
		e.Add(NewSpan(Parent{}, time.Now()))
	}
	if e.Dropped() != 7 {
		t.Errorf("%d dropped", e.Dropped())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e.Run(ctx)
	if e.Sent()+e.Dropped() != maxQueue+7 || e.Dropped() <= 7 || e.Sent() == 0 {
		t.Errorf("%d sent, %d dropped", e.Sent(), e.Dropped())
	}
	for _, bad := range []string{"localhost:4318", "", "ftp://x", "http://", "http://[::1"} {
		if _, err := NewExporter(ExporterOptions{URL: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
