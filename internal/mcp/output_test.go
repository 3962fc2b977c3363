package mcp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"noid/internal/api"
)

// TestStream has the beginning and the end of what is written be kept, in whatever pieces it comes, and says what is
// missing between them.
func TestStream(t *testing.T) {
	all := bytes.Repeat([]byte("0123456789abcdef"), 8*keptBytes/16)
	for _, size := range []int{len(all), keptBytes - 1, 4096, 999} {
		s := api.Output{Keep: keptBytes}
		for p := all; len(p) > 0; p = p[min(size, len(p)):] {
			s.Write(p[:min(size, len(p))])
		}
		if s.Total() != int64(len(all)) {
			t.Errorf("in pieces of %d: %d bytes written", size, s.Total())
		}
		text := kept(&s)
		head, tail, lost := s.Parts()
		gap := fmt.Sprintf("\n[%d bytes were not kept]\n", lost)
		if len(head) != keptBytes || len(tail) < keptBytes || len(tail) > 2*keptBytes ||
			string(text) != string(all[:keptBytes])+gap+string(all[len(all)-len(tail):]) {
			t.Errorf("in pieces of %d: %d and %d bytes are kept, %d lost", size, len(head), len(tail), lost)
		}
	}
}

func TestShort(t *testing.T) {
	s := api.Output{Keep: keptBytes}
	s.Write([]byte(strings.Repeat("é", 100)))
	if text, coded, cut := short(&s, 200); cut || coded != "" || text != strings.Repeat("é", 100) {
		t.Errorf("one that fits: %q, %v", text, cut)
	}
	text, coded, cut := short(&s, 21) // in the middle of characters
	if !cut || coded != "" || text != "éé\uFFFD\n[179 bytes are left out]\nééééééé"+"é" {
		t.Errorf("one that does not: %q, %v", text, cut)
	}
	s = api.Output{Keep: keptBytes}
	s.Write([]byte("\xffELF"))
	if text, coded, cut := short(&s, 200); cut || coded != "/0VMRg==" || text != "\uFFFDELF" {
		t.Errorf("one that is no text: %q, %q, %v", text, coded, cut)
	}
}

// TestOutputs keeps the last outputs.
func TestOutputs(t *testing.T) {
	var o outputs
	var ids []string
	for range keptOutputs + 1 {
		ids = append(ids, o.keep(newOutput()))
	}
	for i, id := range ids {
		if _, err := o.text(id, "stdout"); (err == nil) != (i > 0) {
			t.Errorf("output %d: %v", i, err)
		}
	}
	if _, err := o.text(ids[1], "stdin"); err == nil {
		t.Error("a stream that is none")
	}
}
