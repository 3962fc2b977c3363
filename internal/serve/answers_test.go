package serve

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestIdempotencyKey has a change made once, however often it is asked for: one after the other, at the same time, and
// when the first has gone.
func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t, "")
	create := map[string]any{"name": "a"}
	first := w.do(201, "POST", "/v1/vms", create, nil, "Idempotency-Key: 1")
	if again := w.do(201, "POST", "/v1/vms", create, nil, "Idempotency-Key: 1"); again != first {
		t.Errorf("again: %s, not %s", again, first)
	}
	w.refused(422, "usage", "POST", "/v1/vms", map[string]any{"name": "b"}, "Idempotency-Key: 1")
	w.refused(422, "usage", "POST", "/v1/vms/a/stop", nil, "Idempotency-Key: 1")
	for _, bad := range []string{strings.Repeat("x", maxKey+1), "a b", "a\tb", "é"} {
		w.refused(400, "usage", "POST", "/v1/vms", create, "Idempotency-Key: "+bad)
	}

	dir := t.TempDir()
	count := func(name string) map[string]any {
		return map[string]any{"command": "echo x >>" + filepath.Join(dir, name) + "; sleep 0.3"}
	}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			a := w.request("POST", "/v1/vms/a/exec", count("at-once"), "Idempotency-Key: 2")
			a.Body.Close()
			if a.StatusCode != 200 {
				t.Errorf("at once: %s", a.Status)
			}
		})
	}
	all.Wait()
	if data, _ := os.ReadFile(filepath.Join(dir, "at-once")); string(data) != "x\n" {
		t.Errorf("five at once ran %q", data)
	}

	// One that was interrupted is not done again: a repetition hears of that, and one that waits for it too.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	body := `{"command":"echo x >>` + filepath.Join(dir, "gone") + `; sleep 1000"}`
	go func() {
		r, _ := http.NewRequestWithContext(ctx, "POST", w.base+"/v1/vms/a/exec", strings.NewReader(body))
		r.Header.Set("Content-Type", jsonType)
		r.Header.Set("Idempotency-Key", "3")
		_, err := w.client.Do(r)
		gone <- err
	}()
	w.until("the first runs", func() bool {
		data, _ := os.ReadFile(filepath.Join(dir, "gone"))
		return string(data) == "x\n"
	})
	waits := make(chan string, 1)
	go func() { waits <- w.do(409, "POST", "/v1/vms/a/exec", body, nil, "Idempotency-Key: 3") }()
	cancel()
	if err := <-gone; err == nil {
		t.Error("a request that was cancelled has an answer")
	}
	if doc := <-waits; !strings.Contains(doc, `"kind":"interrupted"`) {
		t.Errorf("the one that has waited: %s", doc)
	}
	w.refused(409, "interrupted", "POST", "/v1/vms/a/exec", body, "Idempotency-Key: 3")
	if data, _ := os.ReadFile(filepath.Join(dir, "gone")); string(data) != "x\n" {
		t.Errorf("what was interrupted ran %q", data)
	}

	// A repetition of what another server was asked is not done, where the client says which one that was.
	var v Version
	w.do(200, "GET", "/v1/version", nil, &v)
	w.refused(409, "interrupted", "POST", "/v1/vms/a/exec", count("other"), "Idempotency-Key: 4", "Noid-Instance: another")
	w.do(200, "POST", "/v1/vms/a/exec", count("other"), nil, "Idempotency-Key: 4", "Noid-Instance: "+v.Instance)
}

// TestAnswers are bounded in number and size.
func TestAnswers(t *testing.T) {
	var s answers
	r, _ := http.NewRequest("POST", "/", nil)
	big := answer{status: 200, doc: make([]byte, maxAnswerSize/4)}
	for i := range maxAnswers + 10 {
		a := answer{status: 200}
		if i%100 == 0 {
			a = big
		}
		if _, err := s.once(r, []string{http.StatusText(200) + strings.Repeat("x", i%200) + string(rune('a'+i/200))}, nil, func() answer { return a }); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.list) > maxAnswers || s.size > maxAnswerSize || len(s.list) != len(s.byKey) || len(s.list) == 0 {
		t.Errorf("%d answers of %d bytes, %d keys", len(s.list), s.size, len(s.byKey))
	}
}
