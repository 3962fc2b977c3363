package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"noid/internal/api"
)

// dial connects a WebSocket, and sends its first message.
func (w *world) dial(path string, start any, headers ...string) *websocket.Conn {
	w.Helper()
	h := http.Header{}
	for _, line := range headers {
		key, value, _ := strings.Cut(line, ": ")
		h.Set(key, value)
	}
	conn, _, err := websocket.Dial(w.Context(), w.base+path, &websocket.DialOptions{HTTPClient: w.client, HTTPHeader: h, Subprotocols: []string{socketProtocol}})
	check(w.T, err)
	w.begin(conn, start)
	return conn
}

// begin sends the first message on a new WebSocket.
func (w *world) begin(conn *websocket.Conn, start any) {
	w.Helper()
	w.Cleanup(func() { conn.CloseNow() })
	conn.SetReadLimit(8 << 20)
	data, err := json.Marshal(start)
	check(w.T, err)
	check(w.T, conn.Write(w.Context(), websocket.MessageText, data))
}

// listen reads messages until the last one, or until is says of stdout so far that it is enough.
func (w *world) listen(conn *websocket.Conn, is func(stdout string) bool) (stdout, stderr string, end SocketEnd) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	for {
		kind, message, err := conn.Read(ctx)
		check(w.T, err)
		if kind == websocket.MessageText {
			check(w.T, json.Unmarshal(message, &end))
			return stdout, stderr, end
		}
		switch message[0] {
		case streamStdout:
			stdout += string(message[1:])
		case streamStderr:
			stderr += string(message[1:])
		default:
			w.Fatalf("a message of stream %d", message[0])
		}
		if is != nil && is(stdout) {
			return stdout, stderr, end
		}
	}
}

func (w *world) send(conn *websocket.Conn, control string) {
	w.Helper()
	check(w.T, conn.Write(w.Context(), websocket.MessageText, []byte(control)))
}

func (w *world) typeIn(conn *websocket.Conn, text string) {
	w.Helper()
	check(w.T, conn.Write(w.Context(), websocket.MessageBinary, append([]byte{streamStdin}, text...)))
}

// TestSocketExec runs commands over WebSockets: input and its end, signals, a terminal and its size, and a client that goes.
func TestSocketExec(t *testing.T) {
	w := newWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	const path = "/v1/vms/a/exec"
	conn := w.dial(path, map[string]any{"type": "start", "command": "echo err >&2; cat; exit 3"})
	w.typeIn(conn, "one\n")
	w.typeIn(conn, strings.Repeat("x", 500_000))
	w.send(conn, `{"type":"eof"}`)
	if out, errs, end := w.listen(conn, nil); out != "one\n"+strings.Repeat("x", 500_000) || errs != "err\n" || end.Type != "exit" || exitCode(end) != 3 {
		t.Errorf("a command: %d bytes, %q, %+v", len(out), errs, end)
	}
	conn = w.dial(path, map[string]any{"type": "start", "command": "trap 'echo got; exit 5' INT; echo ready; while :; do sleep 0.05; done"})
	w.listen(conn, func(out string) bool { return out == "ready\n" })
	w.send(conn, `{"type":"signal","signal":"INT"}`)
	if out, _, end := w.listen(conn, nil); out != "got\n" || exitCode(end) != 5 {
		t.Errorf("a signal: %q, %+v", out, end)
	}
	conn = w.dial(path, map[string]any{"type": "start", "argv": []string{"sh"}, "tty": true, "cols": 91, "rows": 17})
	w.typeIn(conn, "stty size\n")
	w.listen(conn, func(out string) bool { return strings.Contains(out, "17 91") })
	w.send(conn, `{"type":"resize","cols":92,"rows":18}`)
	w.typeIn(conn, "until stty size | grep -q '18 92'; do sleep 0.05; done; echo ne''w\n")
	w.listen(conn, func(out string) bool { return strings.Contains(out, "new\r\n") })
	w.typeIn(conn, "exit 4\n")
	if _, _, end := w.listen(conn, nil); exitCode(end) != 4 {
		t.Errorf("a terminal: %+v", end)
	}
	conn = w.dial(path, map[string]any{"type": "start", "command": "echo ready; sleep 1000"})
	w.listen(conn, func(out string) bool { return out == "ready\n" })
	conn.CloseNow()
	w.until("the command is hung up", func() bool { // its end may be forgotten at once: nobody waits to hear of it
		var jobs JobList
		w.do(200, "GET", "/v1/vms/a/jobs", nil, &jobs)
		return !slices.ContainsFunc(jobs.Jobs, func(j api.Job) bool { return j.ExitCode == nil })
	})
	for what, start := range map[string]any{"no start": map[string]any{"type": "resize"}, "another field": map[string]any{"type": "start", "x": 1}, "two commands": map[string]any{"type": "start", "command": "a", "argv": []string{"b"}}} {
		if _, _, end := w.listen(w.dial(path, start), nil); end.Type != "error" || end.Problem == nil || end.Problem.Kind != "usage" {
			t.Errorf("%s: %+v", what, end)
		}
	}
	conn = w.dial(path, map[string]any{"type": "start", "command": "sleep 1000"})
	w.send(conn, "junk")
	if _, _, end := w.listen(conn, nil); end.Problem == nil || end.Problem.Kind != "usage" {
		t.Errorf("junk: %+v", end)
	}
	w.until("no command is left", func() bool {
		var jobs JobList
		w.do(200, "GET", "/v1/vms/a/jobs", nil, &jobs)
		return !slices.ContainsFunc(jobs.Jobs, func(j api.Job) bool { return j.ExitCode == nil })
	})
	w.refused(426, "usage", "GET", path, nil)
	w.refused(404, "not_found", "GET", "/v1/vms/missing/shell", nil, "Upgrade: websocket")
}

// TestSocketStuck hears a client that goes, and a signal, while the command reads none of a lot of input.
func TestSocketStuck(t *testing.T) {
	w := newWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	running := func() bool {
		var jobs JobList
		w.do(200, "GET", "/v1/vms/a/jobs", nil, &jobs)
		return slices.ContainsFunc(jobs.Jobs, func(j api.Job) bool { return j.ExitCode == nil })
	}
	conn := w.dial("/v1/vms/a/exec", map[string]any{"type": "start", "command": "echo ready; exec sleep 1000"})
	w.listen(conn, func(out string) bool { return out == "ready\n" })
	for range 3 { // more than a pipe has room for
		w.typeIn(conn, strings.Repeat("x", 60_000))
	}
	w.send(conn, `{"type":"signal","signal":"TERM"}`)
	if _, _, end := w.listen(conn, nil); end.Signal != "SIGTERM" {
		t.Errorf("a signal: %+v", end)
	}
	conn = w.dial("/v1/vms/a/exec", map[string]any{"type": "start", "command": "echo ready; exec sleep 1000"})
	w.listen(conn, func(out string) bool { return out == "ready\n" })
	for err := error(nil); err == nil; { // until it is full; the end of the time closes the connection
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		err = conn.Write(ctx, websocket.MessageBinary, make([]byte, 500_000))
		stop()
	}
	w.until("the command is hung up", func() bool { return !running() })
	conn = w.dial("/v1/vms/a/exec", map[string]any{"type": "start", "command": "wc -c"})
	for range 20 {
		w.typeIn(conn, strings.Repeat("x", 500_000))
	}
	w.send(conn, `{"type":"eof"}`)
	if out, _, end := w.listen(conn, nil); out != "10000000\n" || exitCode(end) != 0 {
		t.Errorf("a lot of input: %q, %+v", out, end)
	}
}

// TestConsoleSocket has the console's bytes both ways, until Ctrl+Q.
func TestConsoleSocket(t *testing.T) {
	w := newWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	conn := w.dial("/v1/vms/a/console", map[string]any{"type": "start"})
	w.typeIn(conn, "typed\n")
	w.listen(conn, func(out string) bool { return strings.Contains(out, "typed\n") })
	w.typeIn(conn, "\x11")
	if _, _, end := w.listen(conn, nil); end.Type != "exit" || end.Problem != nil {
		t.Errorf("detached: %+v", end)
	}
	w.do(200, "POST", "/v1/vms/a/stop", map[string]any{"force": true}, nil)
	if _, _, end := w.listen(w.dial("/v1/vms/a/console", map[string]any{"type": "start"}), nil); end.Problem == nil || end.Problem.Kind != "state" {
		t.Errorf("of a VM that does not run: %+v", end)
	}
}

// exitCode is that of end, -1 if it has none.
func exitCode(end SocketEnd) int {
	if end.ExitCode == nil {
		return -1
	}
	return *end.ExitCode
}

// TestSocketEnds ends WebSockets with the server, and has no more of them of one client than its bound.
func TestSocketEnds(t *testing.T) {
	w := newWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	var all []*websocket.Conn
	for range maxStreams {
		conn, _, err := websocket.Dial(t.Context(), w.base+"/v1/vms/a/console", &websocket.DialOptions{HTTPClient: w.client, Subprotocols: []string{socketProtocol}})
		check(t, err)
		defer conn.CloseNow()
		all = append(all, conn)
	}
	w.refused(429, "busy", "GET", "/v1/vms/a/console", nil, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	for _, conn := range all[1:] {
		conn.CloseNow()
	}
	var conn *websocket.Conn
	w.until("there is room for another", func() bool { // the server hears of each end in its own time
		var err error
		conn, _, err = websocket.Dial(t.Context(), w.base+"/v1/vms/a/exec", &websocket.DialOptions{HTTPClient: w.client, Subprotocols: []string{socketProtocol}})
		return err == nil
	})
	w.begin(conn, map[string]any{"type": "start", "command": "echo ready; sleep 1000"})
	w.listen(conn, func(out string) bool { return out == "ready\n" })
	ended := make(chan error, 1)
	go func() { ended <- w.stop() }()
	if _, _, end := w.listen(conn, nil); end.Problem == nil || end.Problem.Kind != "interrupted" {
		t.Errorf("at the end of the server: %+v", end)
	}
	check(t, <-ended)
}
