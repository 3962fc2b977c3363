// Package telemetry tells monitoring systems what a server does, in two formats that others have specified: metrics as
// Prometheus reads them (text.go, process.go), and spans as an OpenTelemetry collector takes them (span.go, export.go).
// It is small code of noid's own, because the libraries for both cost each start of noid milliseconds.
package telemetry

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// ContentType is the type of Text, of Prometheus's exposition format 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats).
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Text is metrics in the making, a family after the other.
type Text struct {
	b    bytes.Buffer
	name string
}

// Bytes are all families so far.
func (t *Text) Bytes() []byte { return t.b.Bytes() }

// Family begins the metric name, of the type counter, gauge or histogram. Samples follow.
func (t *Text) Family(name, kind, help string) {
	t.name = name
	t.b.WriteString("# HELP " + name + " " + strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(help) + "\n# TYPE " + name + " " + kind + "\n")
}

// Sample adds a value of the family, with labels as name and value in turns.
func (t *Text) Sample(value float64, labels ...string) { t.sample("", value, labels) }

// One is a family of one sample.
func (t *Text) One(name, kind, help string, value float64) {
	t.Family(name, kind, help)
	t.Sample(value)
}

var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (t *Text) sample(suffix string, value float64, labels []string) {
	t.b.WriteString(t.name + suffix)
	for i := 0; i+1 < len(labels); i += 2 {
		before := byte(',')
		if i == 0 {
			before = '{'
		}
		t.b.WriteByte(before)
		t.b.WriteString(labels[i] + `="` + escaped.Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD")) + `"`)
	}
	if len(labels) > 1 {
		t.b.WriteByte('}')
	}
	t.b.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

// Counts are numbers that grow, one for each set of values that its labels have had. The caller bounds how many sets
// there are. The zero value has none.
type Counts struct {
	mu sync.Mutex
	n  map[string]float64 // by the values, joined by NULs
}

// Add adds by to the number of values.
func (c *Counts) Add(by float64, values ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]float64{}
	}
	c.n[strings.Join(values, "\x00")] += by
}

// Write adds the samples to the family that t has begun, with the labels of those names.
func (c *Counts) Write(t *Text, names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(c.n)) {
		t.Sample(c.n[key], pairs(names, strings.Split(key, "\x00"))...)
	}
}

func pairs(names, values []string) (labels []string) {
	for i, name := range names {
		labels = append(labels, name, values[i])
	}
	return labels
}

// Histogram counts durations by how long they are, for each value of a label that its caller bounds.
type Histogram struct {
	Bounds []float64 // of the buckets, in seconds, rising

	mu sync.Mutex
	of map[string]*buckets
}

type buckets struct {
	n   []uint64 // of each bucket alone; the last one has no bound
	sum float64  // seconds
}

// Observe counts one of so many seconds.
func (h *Histogram) Observe(value string, seconds float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.of[value]
	if b == nil {
		b = &buckets{n: make([]uint64, len(h.Bounds)+1)}
		if h.of == nil {
			h.of = map[string]*buckets{}
		}
		h.of[value] = b
	}
	i, _ := slices.BinarySearch(h.Bounds, seconds) // a bound is in its bucket
	b.n[i]++
	b.sum += seconds
}

// Write adds the samples to the family that t has begun. With a name of "" there is no label.
func (h *Histogram) Write(t *Text, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, value := range slices.Sorted(maps.Keys(h.of)) {
		var labels []string
		if name != "" {
			labels = []string{name, value}
		}
		b, below := h.of[value], uint64(0)
		for i, n := range b.n {
			below += n
			le := "+Inf"
			if i < len(h.Bounds) {
				le = strconv.FormatFloat(h.Bounds[i], 'g', -1, 64)
			}
			t.sample("_bucket", float64(below), append(slices.Clip(labels), "le", le))
		}
		t.sample("_sum", b.sum, labels)
		t.sample("_count", float64(below), labels)
	}
}
