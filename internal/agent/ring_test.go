package agent

import (
	"bytes"
	"testing"
)

// TestRing has a stream flow through a ring: the bytes stay what they are, the buffer stays while much flows, and is
// given back when little does.
func TestRing(t *testing.T) {
	var r ring
	sent, got := []byte(nil), []byte(nil)
	flow := func(n int) {
		p := bytes.Repeat([]byte{byte(len(sent))}, n)
		r.append(p)
		sent = append(sent, p...)
		for r.size() > 0 {
			b := r.peek(r.start, r.size()/2+1)
			got = append(got, b...)
			r.drop(r.start + uint64(len(b)))
		}
		r.relax()
	}
	for range 3 {
		flow(100_001)
	}
	if len(r.buf) < 100_001 {
		t.Errorf("a ring of %d bytes after much", len(r.buf))
	}
	flow(10)
	flow(10)
	if len(r.buf) > minRing {
		t.Errorf("a ring of %d bytes after little", len(r.buf))
	}
	if !bytes.Equal(sent, got) {
		t.Error("what came out is not what went in")
	}
}
