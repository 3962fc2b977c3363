package mcp

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/home"
)

const (
	// defaultOutput is how many bytes of a stream a result has, and maxRead how many read_output returns at most.
	defaultOutput = 16 << 10
	maxRead       = 256 << 10
	// keptOutputs is how many commands' outputs are kept, and keptBytes how much of each stream: so much of its
	// beginning and as much of its end.
	keptOutputs = 32
	keptBytes   = 512 << 10
)

// output is what a command has written.
type output struct{ stdout, stderr api.Output }

func newOutput() *output {
	return &output{api.Output{Keep: keptBytes}, api.Output{Keep: keptBytes}}
}

// kept is what is kept of a stream, with a line where bytes are missing.
func kept(o *api.Output) []byte {
	head, tail, lost := o.Parts()
	var gap []byte
	if lost > 0 {
		gap = fmt.Appendf(nil, "\n[%d bytes were not kept]\n", lost)
	}
	return bytes.Join([][]byte{head, gap, tail}, nil)
}

// short is the text of at most about max bytes: a quarter of its beginning, and its end. cut says that some is missing. What
// is whole and not UTF-8 is in coded too.
func short(o *api.Output, max int) (text, coded string, cut bool) {
	all := kept(o)
	if len(all) <= max {
		return valid(all), binary(all, all), false
	}
	head, tail := all[:max/4], all[len(all)-(max-max/4):]
	return valid(head) + fmt.Sprintf("\n[%d bytes are left out]\n", len(all)-max) + valid(tail), "", true
}

// binary is part in base64 if all, of which it is one, is not UTF-8.
func binary(all, part []byte) string {
	if utf8.Valid(all) {
		return ""
	}
	return base64.StdEncoding.EncodeToString(part)
}

// valid is b in UTF-8, which JSON is, without the half of a character that a cut has left at an end.
func valid(b []byte) string { return strings.ToValidUTF8(string(api.TrimHalves(b, false)), "\uFFFD") }

// outputs are those of the last commands whose results were cut, by an id.
type outputs struct {
	mu   sync.Mutex
	ids  []string // the oldest first
	byID map[string]*output
}

func (o *outputs) keep(out *output) (id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byID == nil {
		o.byID = map[string]*output{}
	}
	id = home.NewID(nil)
	o.ids, o.byID[id] = append(o.ids, id), out
	if len(o.ids) > keptOutputs {
		delete(o.byID, o.ids[0])
		o.ids = o.ids[1:]
	}
	return id
}

// text is what the command with the output id has written to stdout or stderr.
func (o *outputs) text(id, name string) ([]byte, error) {
	o.mu.Lock()
	out := o.byID[id]
	o.mu.Unlock()
	switch {
	case out == nil:
		return nil, errs.New(errs.ErrNotFound, "no output %.40q", id).Hint(fmt.Sprintf("the last %d that were cut are kept; run the command again", keptOutputs))
	case name == "" || name == "stdout":
		return kept(&out.stdout), nil
	case name == "stderr":
		return kept(&out.stderr), nil
	}
	return nil, errs.New(errs.ErrUsage, "stream: %.40q is neither stdout nor stderr", name)
}

type readOutputIn struct {
	Output string `json:"output" jsonschema:"the id that exec has returned"`
	Stream string `json:"stream,omitempty" jsonschema:"stdout or stderr; stdout if empty"`
	Offset int    `json:"offset,omitempty" jsonschema:"where to begin, in bytes"`
	Max    int    `json:"max,omitempty" jsonschema:"how many bytes to read; 16384 if 0"`
}

type readOutputOut struct {
	Text   string `json:"text"`
	Base64 string `json:"base64,omitempty" jsonschema:"the same bytes, where the output is not UTF-8"`
	Total  int    `json:"total" jsonschema:"bytes that are kept"`
	Next   int    `json:"next,omitempty" jsonschema:"the offset to go on at; missing at the end"`
}

func (s *server) readOutput(_ context.Context, c call, in readOutputIn) (out readOutputOut, err error) {
	all, err := s.outputs.text(in.Output, in.Stream)
	if err != nil {
		return out, err
	}
	if in.Offset < 0 || in.Offset > len(all) {
		return out, errs.New(errs.ErrUsage, "offset: %d is not in the output, which has %d bytes", in.Offset, len(all))
	}
	if in.Max <= 0 {
		in.Max = defaultOutput
	}
	end := min(len(all), in.Offset+min(in.Max, maxRead))
	part := all[in.Offset:end]
	out = readOutputOut{Text: valid(part), Base64: binary(all, part), Total: len(all)}
	if end < len(all) {
		out.Next = end
	}
	return out, nil
}

// addOutputs has outputs as resources.
func (s *server) addOutputs() {
	const prefix = "noid://output/"
	s.sdk.AddResourceTemplate(&sdk.ResourceTemplate{Name: "output", Title: "Output of a command", URITemplate: prefix + "{id}/{stream}",
		Description: "All that noid keeps of what a command has written; stream is stdout or stderr.", MIMEType: "text/plain"},
		func(_ context.Context, req *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
			id, name, _ := strings.Cut(strings.TrimPrefix(req.Params.URI, prefix), "/")
			text, err := s.outputs.text(id, name)
			if err != nil {
				return nil, sdk.ResourceNotFoundError(req.Params.URI)
			}
			c := &sdk.ResourceContents{URI: req.Params.URI, MIMEType: "text/plain", Text: string(text)}
			if !utf8.Valid(text) {
				c.MIMEType, c.Text, c.Blob = "application/octet-stream", "", text
			}
			return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{c}}, nil
		})
}
