package telemetry

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Parent is where a trace comes from: what a client has sent in the header traceparent
// (https://www.w3.org/TR/trace-context). The zero value is none.
type Parent struct {
	Trace, Span string // in hex
	State       string // of the header tracestate, passed on as it is
	Unsampled   bool   // the client has said that nobody keeps this trace
}

// maxState bounds tracestate, in bytes, as the specification has it.
const maxState = 512

// ParseParent reads the headers traceparent and tracestate. What is not well-formed is no parent, as the specification has
// it.
func ParseParent(traceparent, tracestate string) (p Parent) {
	version, rest, _ := strings.Cut(traceparent, "-")
	trace, rest, _ := strings.Cut(rest, "-")
	span, rest, _ := strings.Cut(rest, "-")
	flags, more, longer := strings.Cut(rest, "-")
	if !isHex(version, 2) || version == "ff" || !isID(trace, 32) || !isID(span, 16) || !isHex(flags, 2) || longer && (version == "00" || more == "") {
		return Parent{}
	}
	bits, _ := hex.DecodeString(flags)
	p = Parent{Trace: trace, Span: span, Unsampled: bits[0]&1 == 0}
	if len(tracestate) <= maxState && !strings.ContainsFunc(tracestate, func(c rune) bool { return c < ' ' || c > '~' }) {
		p.State = tracestate
	}
	return p
}

func isHex(s string, length int) bool {
	return len(s) == length && strings.Trim(s, "0123456789abcdef") == ""
}

// isID is isHex of what is not all zeros.
func isID(s string, length int) bool { return isHex(s, length) && strings.Trim(s, "0") != "" }

// Span is the work for one request, as OTLP's JSON has it
// (https://opentelemetry.io/docs/specs/otlp: ids in hex, 64-bit numbers as text).
type Span struct {
	Trace      string      `json:"traceId"`
	ID         string      `json:"spanId"`
	State      string      `json:"traceState,omitempty"`
	Parent     string      `json:"parentSpanId,omitempty"`
	Name       string      `json:"name"`
	Kind       int         `json:"kind"`
	Start      int64       `json:"startTimeUnixNano,string"`
	End        int64       `json:"endTimeUnixNano,string"`
	Attributes []Attribute `json:"attributes,omitempty"`
	Status     Status      `json:"status"`
}

// kindServer is SPAN_KIND_SERVER, and StatusError is STATUS_CODE_ERROR, of OTLP's trace.proto.
const (
	kindServer  = 2
	StatusError = 2
)

// Status is how a span ended.
type Status struct {
	Message string `json:"message,omitempty"`
	Code    int    `json:"code,omitempty"`
}

// Attribute is something known of a span: its value is a string or an int.
type Attribute struct {
	Key   string         `json:"key"`
	Value map[string]any `json:"value"`
}

// maxValue bounds an attribute's text, in bytes.
const maxValue = 1024

// Attr is an attribute that is text.
func Attr(key, value string) Attribute {
	value = strings.ToValidUTF8(value[:min(len(value), maxValue)], "\uFFFD")
	return Attribute{key, map[string]any{"stringValue": value}}
}

// Number is an attribute that is a number.
func Number(key string, value int) Attribute {
	return Attribute{key, map[string]any{"intValue": fmt.Sprint(value)}}
}

// NewSpan begins the span of a request, at start.
func NewSpan(p Parent, start time.Time) Span {
	s := Span{Trace: p.Trace, Parent: p.Span, State: p.State, ID: newID(8), Kind: kindServer, Start: start.UnixNano()}
	if s.Trace == "" {
		s.Trace = newID(16)
	}
	return s
}

func newID(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // all zeros, which is no id, does not happen in this universe
	return hex.EncodeToString(b)
}
