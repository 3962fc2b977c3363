package serve

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// event is one of an answer of events.
type event struct{ name, data string }

// readEvents reads events from r until it ends, or until one of them is the last.
func readEvents(t *testing.T, r io.Reader, last func(event) bool) (all []event) {
	t.Helper()
	var e event
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		switch key, value, _ := strings.Cut(lines.Text(), ": "); key {
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.name == "" {
				continue
			}
			all = append(all, e)
			if last != nil && last(e) {
				return all
			}
			e = event{}
		}
	}
	return all
}

// TestEvents has the output of a command as it comes, and then the document of the plain answer.
func TestEvents(t *testing.T) {
	w := newWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	a := w.request("POST", "/v1/vms/a/exec", map[string]any{"command": `printf '\303'; sleep 0.2; printf '\251\n'; printf '\377' >&2; exit 2`}, "Accept: text/event-stream")
	defer a.Body.Close()
	var stdout, stderr string
	all := readEvents(t, a.Body, nil)
	for _, e := range all[:len(all)-1] {
		var p Piece
		check(t, json.Unmarshal([]byte(e.data), &p))
		if p.Stream == "stdout" {
			stdout += p.Text + string(p.Base64)
		} else {
			stderr += p.Text + string(p.Base64)
		}
	}
	var end ExecResult
	last := all[len(all)-1]
	check(t, json.Unmarshal([]byte(last.data), &end))
	if a.StatusCode != 200 || stdout != "é\n" || stderr != "\xff" || last.name != "result" || end.ExitCode != 2 || end.Stdout != "é\n" || end.Stderr != "/w==" {
		t.Errorf("%s: %q, %q, %+v", a.Status, stdout, stderr, all)
	}
	a = w.request("POST", "/v1/vms/b/exec", map[string]any{"command": "true"}, "Accept: text/event-stream")
	defer a.Body.Close()
	all = readEvents(t, a.Body, nil)
	var p Problem
	if len(all) != 1 || all[0].name != "error" || json.Unmarshal([]byte(all[0].data), &p) != nil || p.Kind != "not_found" {
		t.Errorf("an error: %+v", all)
	}
}
