package serve

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"noid/internal/api"
)

// newSlowWorld is a world whose server waits for next to nothing.
func newSlowWorld(t *testing.T, token string) *world {
	return newWorldWith(t, token, func(o *Options) { o.header, o.slow, o.Metrics = 300*time.Millisecond, 300*time.Millisecond, true })
}

// connect is a connection of its own to the server, on which text has been sent.
func (w *world) connect(text string) net.Conn {
	w.Helper()
	network, address := "unix", filepath.Join(w.home, SocketFile)
	if w.token != "" {
		network, address = "tcp", strings.TrimPrefix(w.base, "http://")
	}
	conn, err := net.Dial(network, address)
	check(w.T, err)
	w.Cleanup(func() { conn.Close() })
	_, err = io.WriteString(conn, text)
	check(w.T, err)
	check(w.T, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	return conn
}

// cut wants the server to end conn, though its client goes on, and returns what the server has said before.
func (w *world) cut(what string, conn net.Conn, goOn string) string {
	w.Helper()
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		for goOn != "" {
			select {
			case <-quit:
				return
			case <-time.After(20 * time.Millisecond):
				if _, err := io.WriteString(conn, goOn); err != nil {
					return
				}
			}
		}
	}()
	said, err := io.ReadAll(conn)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		w.Errorf("%s: the server waits", what)
	}
	return string(said)
}

// TestSlowSender cuts clients whose requests take too long: in the header, and in a body, of who may ask and of who may
// not.
func TestSlowSender(t *testing.T) {
	for _, token := range []string{"", testToken} {
		w := newSlowWorld(t, token)
		w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
		w.cut("no header", w.connect(""), "")
		w.cut("a header without end", w.connect("GET /v1/vms HTTP/1.1\r\n"), "X: y\r\n")
		const head = " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer " + testToken + "\r\n"
		if got := w.cut("a body that stops", w.connect("POST /v1/vms"+head+"Content-Length: 100\r\n\r\n{"), ""); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("a body that stops: %q", got)
		}
		w.cut("a chunked body that stops", w.connect("POST /v1/vms"+head+"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"), "")
		w.cut("a file that stops", w.connect("PUT /v1/vms/a/files?path="+t.TempDir()+"/f"+head+"Content-Length: 100\r\n\r\nx"), "")
		w.cut("a body for who is refused", w.connect("POST /v1/vms HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000\r\n\r\nx"), "")
		w.cut("a body for no path", w.connect("POST /v1/none"+head+"Content-Length: 1000\r\n\r\nx"), "")
		w.cut("a body for what takes none", w.connect("GET /v1/vms"+head+"Content-Length: 1000\r\n\r\nx"), "")
		w.do(200, "GET", "/v1/vms", nil, nil)
	}
}

// TestSlowBody takes a body that comes slowly, but comes.
func TestSlowBody(t *testing.T) {
	w := newSlowWorld(t, "")
	r, pipe := io.Pipe()
	go func() {
		for _, c := range `{"name":"a"}` {
			time.Sleep(50 * time.Millisecond)
			fmt.Fprint(pipe, string(c))
		}
		pipe.Close()
	}()
	w.do(201, "POST", "/v1/vms", io.Reader(r), nil)
}

// TestSlowE2B takes a body of an E2B client that comes slowly, has its stream last while neither says anything, and cuts
// bodies that stop.
func TestSlowE2B(t *testing.T) {
	w := e2bWorld{newSlowWorld(t, testToken)}
	s := w.make(map[string]any{})
	file := filepath.Join(t.TempDir(), "f")
	r, pipe := io.Pipe()
	go func() {
		for range 10 {
			time.Sleep(50 * time.Millisecond)
			io.WriteString(pipe, "x")
		}
		pipe.Close()
	}()
	w.do(200, "POST", "/e2b/files?path="+file, io.Reader(r), nil, s.envd("Content-Type: application/octet-stream")...)
	if got, err := os.ReadFile(file); string(got) != "xxxxxxxxxx" {
		t.Errorf("%q, %v", got, err)
	}
	k := w.stream(s, "process.Process/Start", shLine("sleep 1; echo late"))
	if e := k.end(); e.Event.End.ExitCode != 0 || k.out != "late\n" {
		t.Errorf("%+v, %+v", e, k)
	}
	for what, kind := range map[string]string{"a form that stops": "multipart/form-data; boundary=b", "a file that stops": "application/octet-stream"} {
		w.cut(what, w.connect("POST /e2b/files?path="+file+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"+
			strings.Join(s.envd("Content-Type: "+kind), "\r\n")+"\r\n\r\n--b"), "")
	}
}

// TestSlowReader cuts clients that do not read their answers: events, a file, a log that is followed. What they have begun
// ends.
func TestSlowReader(t *testing.T) {
	w := newSlowWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	big := filepath.Join(t.TempDir(), "big")
	check(t, os.WriteFile(big, nil, 0o600))
	check(t, os.Truncate(big, 64<<20))
	idle := func() bool {
		return strings.Contains(w.do(200, "GET", "/metrics", nil, nil), "\nnoid_http_requests_in_flight 1\n")
	}
	const head = " HTTP/1.1\r\nHost: localhost\r\n"
	for what, text := range map[string]string{
		"a command's output": "POST /v1/vms/a/exec" + head + "Accept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"command\":\"yes\"}",
		"a file":             "GET /v1/vms/a/files?path=" + big + head + "\r\n",
		"a tar":              "GET /v1/vms/a/files/tar?path=" + big + head + "\r\n",
	} {
		conn := w.connect(text)
		answer := make([]byte, 12)
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 200" { // and then nothing more is read
			t.Fatalf("%s: %q, %v", what, answer, err)
		}
		w.until(what+" is given up", idle)
		w.until("no command runs", func() bool {
			var jobs JobList
			w.do(200, "GET", "/v1/vms/a/jobs", nil, &jobs)
			return !slices.ContainsFunc(jobs.Jobs, func(j api.Job) bool { return j.ExitCode == nil })
		})
	}
}

// TestManyConnections has no more than so many at a time, and serves the next one when one of them ends.
func TestManyConnections(t *testing.T) {
	w := newWorld(t, "")
	var all []net.Conn
	for range maxConns {
		all = append(all, w.connect(""))
	}
	next := w.connect("GET /v1/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	all[0].Close()
	if got, _ := io.ReadAll(next); !strings.HasPrefix(string(got), "HTTP/1.1 200 ") {
		t.Errorf("after one has gone: %q", got)
	}
	for _, conn := range all {
		conn.Close()
	}
	w.client.Transport.(*http.Transport).CloseIdleConnections()
}
