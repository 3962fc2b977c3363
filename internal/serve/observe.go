package serve

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"noid/internal/e2b"
	"noid/internal/telemetry"
	"noid/internal/untrusted"
)

// observes reports whether anybody wants to know of requests.
func (s *server) observes() bool { return s.o.Metrics || s.o.Traces != nil }

// observe serves r, and notes how that went.
func (s *server) observe(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	s.metrics.inFlight.Add(1)
	out := &observed{ResponseWriter: w}
	defer func() { // also of an answer that was broken off by a panic
		s.metrics.inFlight.Add(-1)
		broken := recover()
		id, route := s.operationOf(r)
		if s.o.Metrics {
			s.metrics.request(id, out.code(), time.Since(begun))
		}
		if s.o.Traces != nil {
			s.span(r, id, route, begun, out.code(), broken != nil)
		}
		if broken != nil {
			panic(broken)
		}
	}()
	s.serve(out, r)
}

// operationOf is what r was, once it has been served: the id of an operation or another word of a few, and its path with
// placeholders, "" if it got nowhere.
func (s *server) operationOf(r *http.Request) (id, route string) {
	_, route, _ = strings.Cut(r.Pattern, " ")
	if id := s.ids[r.Pattern]; id != "" {
		return id, route
	}
	switch {
	case r.Pattern == "":
		return "refused", ""
	case r.Pattern == "/":
		return "unknown", ""
	case e2b.Serves(r):
		return "e2b", route
	case route == "/openapi.json" || route == metricsPath:
		return strings.TrimSuffix(route[1:], ".json"), route
	}
	return "page", route
}

// observed is an answer whose status is noted.
type observed struct {
	http.ResponseWriter
	status int
}

// code is the status; what was answered without one is 200, as net/http has it.
func (o *observed) code() int {
	if o.status == 0 {
		return http.StatusOK
	}
	return o.status
}

func (o *observed) WriteHeader(status int) {
	if o.status == 0 || o.status/100 == 1 && o.status != http.StatusSwitchingProtocols {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// span tells of a request by the names of OpenTelemetry's conventions for HTTP servers. The query, which has the paths of
// guests' files, is not told, and no body.
func (s *server) span(r *http.Request, id, route string, begun time.Time, status int, broken bool) {
	parent := telemetry.ParseParent(r.Header.Get("Traceparent"), strings.Join(r.Header.Values("Tracestate"), ","))
	if parent.Unsampled {
		return
	}
	span := telemetry.NewSpan(parent, begun)
	span.End = time.Now().UnixNano()
	method := r.Method
	switch method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE":
	default:
		method = "_OTHER" // as the conventions have it
	}
	span.Name = strings.TrimSpace(strings.Replace(method, "_OTHER", "HTTP", 1) + " " + route)
	span.Attributes = []telemetry.Attribute{telemetry.Attr("http.request.method", method), telemetry.Attr("url.scheme", "http"),
		telemetry.Attr("url.path", untrusted.Line(r.URL.Path, 500)), telemetry.Number("http.response.status_code", status), telemetry.Attr("noid.operation", id)}
	if route != "" {
		span.Attributes = append(span.Attributes, telemetry.Attr("http.route", route))
	}
	if name := r.PathValue("vm"); name != "" {
		span.Attributes = append(span.Attributes, telemetry.Attr("noid.vm", untrusted.Line(name, 100)))
	}
	if agent := r.UserAgent(); agent != "" {
		span.Attributes = append(span.Attributes, telemetry.Attr("user_agent.original", untrusted.Line(agent, 200)))
	}
	switch {
	case broken:
		span.Status = telemetry.Status{Code: telemetry.StatusError, Message: "the answer was broken off"}
		span.Attributes = append(span.Attributes, telemetry.Attr("error.type", "broken_off"))
	case status >= 500:
		span.Status.Code = telemetry.StatusError
		span.Attributes = append(span.Attributes, telemetry.Number("error.type", status))
	}
	s.o.Traces.Add(span)
}

// trace has spans sent. The returned function ends that, once all are told.
func (s *server) trace() (end func()) {
	if s.o.Traces == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sending.Go(func() { s.o.Traces.Run(ctx) })
	return func() {
		cancel()
		sending.Wait()
	}
}
