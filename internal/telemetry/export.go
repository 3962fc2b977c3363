package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// What the exporter keeps and how it sends that. The numbers are the defaults that OpenTelemetry's specification has for
// its batch span processor.
const (
	maxQueue    = 2048 // spans
	maxBatch    = 512
	batchEvery  = 5 * time.Second
	sendWait    = 10 * time.Second
	endWait     = 2 * time.Second // for the last batches, when the server ends
	maxTries    = 5               // of one batch
	maxResponse = 64 << 10        // bytes that are read of an answer
)

// Exporter sends spans to a collector over HTTP, as JSON. It never has its caller wait: what the queue has no room for is
// dropped, and counted.
type Exporter struct {
	o       ExporterOptions
	queue   chan Span
	client  *http.Client
	sent    atomic.Uint64
	dropped atomic.Uint64
	failing bool // the operator knows
}

// ExporterOptions are where spans go, and whose they are.
type ExporterOptions struct {
	// URL is the collector's, below which v1/traces takes spans: http://localhost:4318.
	URL string
	// Headers are sent with each batch.
	Headers map[string]string
	// Service and Version are service.name and service.version, Instance service.instance.id,
	// a random one if empty.
	Service, Version, Instance string
	// Log takes what an operator is to know. Nil drops it.
	Log func(string)
	// every is batchEvery, if not 0.
	every time.Duration
}

// NewExporter returns an exporter, which sends nothing before Run. A URL that is none is an error.
func NewExporter(o ExporterOptions) (*Exporter, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%.200q is no URL of a collector", o.URL)
	}
	o.URL = u.JoinPath("v1/traces").String()
	if o.every == 0 {
		o.every = batchEvery
	}
	if o.Instance == "" {
		o.Instance = newID(16)
	}
	return &Exporter{o: o, queue: make(chan Span, maxQueue), client: &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Add queues s.
func (e *Exporter) Add(s Span) {
	select {
	case e.queue <- s:
	default:
		e.dropped.Add(1)
	}
}

// Sent and Dropped say how many spans a collector has taken, and how many were lost.
func (e *Exporter) Sent() uint64    { return e.sent.Load() }
func (e *Exporter) Dropped() uint64 { return e.dropped.Load() }

// Run sends what is queued until ctx ends, and then what is left, for a little while.
func (e *Exporter) Run(ctx context.Context) {
	defer e.client.CloseIdleConnections()
	sending, stop := context.WithCancel(context.WithoutCancel(ctx)) // a batch that is under way gets to its end
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(endWait, stop) })()
	tick := time.NewTicker(e.o.every)
	defer tick.Stop()
	var batch []Span
	for {
		select {
		case s := <-e.queue:
			if batch = append(batch, s); len(batch) < maxBatch {
				continue
			}
		case <-tick.C:
		case <-ctx.Done():
			e.last(sending, batch)
			return
		}
		if len(batch) > 0 {
			e.deliver(ctx, sending, batch)
			batch = nil
		}
	}
}

// last sends batch and what is in the queue, each once.
func (e *Exporter) last(sending context.Context, batch []Span) {
	for {
		for len(batch) < maxBatch {
			select {
			case s := <-e.queue:
				batch = append(batch, s)
				continue
			default:
			}
			break
		}
		if len(batch) == 0 {
			return
		}
		e.count(batch, e.send(sending, batch))
		batch = nil
	}
}

// deliver sends batch, several times if the collector is not there or says that it is busy. Meanwhile the queue fills.
func (e *Exporter) deliver(ctx, sending context.Context, batch []Span) {
	wait, err := e.o.every, error(nil)
	for range maxTries {
		if err = e.send(sending, batch); err == nil || !errors.Is(err, errAgain) {
			break
		}
		e.complain(err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			e.count(batch, e.send(sending, batch))
			return
		}
		wait = min(2*wait, 30*time.Second)
	}
	e.count(batch, err)
}

// count notes what became of batch.
func (e *Exporter) count(batch []Span, err error) {
	if err == nil {
		e.sent.Add(uint64(len(batch)))
		e.failing = false
		return
	}
	e.dropped.Add(uint64(len(batch)))
	e.complain(err)
}

// complain tells the operator once, until a batch gets through.
func (e *Exporter) complain(err error) {
	if !e.failing && e.o.Log != nil {
		e.o.Log("traces are not sent: " + err.Error())
	}
	e.failing = true
}

// errAgain marks what may go well later.
var errAgain = errors.New("the collector is not there, or busy")

func (e *Exporter) send(ctx context.Context, batch []Span) error {
	doc, err := json.Marshal(e.document(batch))
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, sendWait)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.o.URL, bytes.NewReader(doc))
	if err != nil {
		return err
	}
	for key, value := range e.o.Headers {
		r.Header.Set(key, value)
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := e.client.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	defer a.Body.Close()
	io.CopyN(io.Discard, a.Body, maxResponse)
	switch {
	case a.StatusCode/100 == 2:
		return nil
	case a.StatusCode == 429 || a.StatusCode == 502 || a.StatusCode == 503 || a.StatusCode == 504: // as the specification lists them
		return fmt.Errorf("%w: %s", errAgain, a.Status)
	}
	return fmt.Errorf("the collector answers %s", a.Status)
}

// document is batch as an ExportTraceServiceRequest.
func (e *Exporter) document(batch []Span) any {
	type scope struct {
		Scope map[string]string `json:"scope"`
		Spans []Span            `json:"spans"`
	}
	type resource struct {
		Resource map[string][]Attribute `json:"resource"`
		Scopes   []scope                `json:"scopeSpans"`
	}
	about := []Attribute{Attr("service.name", e.o.Service), Attr("service.version", e.o.Version), Attr("service.instance.id", e.o.Instance)}
	return map[string][]resource{"resourceSpans": {{
		Resource: map[string][]Attribute{"attributes": about},
		Scopes:   []scope{{Scope: map[string]string{"name": "noid/serve", "version": e.o.Version}, Spans: batch}},
	}}}
}

// ParseHeaders reads OTEL_EXPORTER_OTLP_HEADERS: KEY=VALUE,KEY=VALUE, with values in percent-encoding.
func ParseHeaders(text string) (map[string]string, error) {
	headers := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, value, found := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		key = strings.TrimSpace(key)
		if !found || key == "" || err != nil || strings.ContainsAny(key, "\r\n\x00 :") || strings.ContainsAny(value, "\r\n\x00") {
			return nil, fmt.Errorf("a header is not KEY=VALUE") // a value may be a secret: it is not shown
		}
		headers[key] = value
	}
	return headers, nil
}
