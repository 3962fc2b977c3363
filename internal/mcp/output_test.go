package mcp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// TestStream has the beginning and the end of what is written be kept, in whatever pieces it comes, and says what is
// missing between them.
func TestStream(t *testing.T) {
	all := bytes.Repeat([]byte("0123456789abcdef"), 8*keptBytes/16)
	for _, size := range []int{len(all), keptBytes - 1, 4096, 999} {
		var s stream
		for p := all; len(p) > 0; p = p[min(size, len(p)):] {
			s.Write(p[:min(size, len(p))])
		}
		if s.total() != int64(len(all)) {
			t.Errorf("in pieces of %d: %d bytes written", size, s.total())
		}
		text := s.text()
		gap := fmt.Sprintf("\n[%d bytes were not kept]\n", s.lost)
		if len(s.head) != keptBytes || len(s.tail) < keptBytes || len(s.tail) > 2*keptBytes ||
			string(text) != string(all[:keptBytes])+gap+string(all[len(all)-len(s.tail):]) {
			t.Errorf("in pieces of %d: %d and %d bytes are kept, %d lost", size, len(s.head), len(s.tail), s.lost)
		}
	}
}

func TestShort(t *testing.T) {
	var s stream
	s.Write([]byte(strings.Repeat("é", 100)))
	if text, cut := s.short(200); cut || text != strings.Repeat("é", 100) {
		t.Errorf("one that fits: %q, %v", text, cut)
	}
	text, cut := s.short(21) // in the middle of characters
	if !cut || text != "éé\uFFFD\n[179 bytes are left out]\nééééééé"+"é" {
		t.Errorf("one that does not: %q, %v", text, cut)
	}
}

// TestOutputs keeps the last outputs.
func TestOutputs(t *testing.T) {
	var o outputs
	var ids []string
	for range keptOutputs + 1 {
		ids = append(ids, o.keep(&output{}))
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
