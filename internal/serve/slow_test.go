package serve

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"noid/internal/api"
)

// shortWait is how long the server of a slow world waits, for ordinary requests on a busy machine too.
const shortWait = 2 * time.Second

// newSlowWorld is a world whose server waits for little.
func newSlowWorld(t *testing.T, token string) *world {
	return newWorldWith(t, token, func(o *Options) { o.header, o.slow, o.Metrics = shortWait, shortWait, true })
}

// slowly gives text one byte after the other, each soon enough, all in more than shortWait.
func slowly(text string) io.Reader {
	r, pipe := io.Pipe()
	go func() {
		for len(text) > 0 {
			time.Sleep(shortWait / 20)
			if _, err := io.WriteString(pipe, text[:1]); err != nil {
				return
			}
			text = text[1:]
		}
		pipe.Close()
	}()
	return r
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

// slowClient is one that sends text, and then goOn again and again, if it is not empty.
type slowClient struct{ what, text, goOn string }

// cut wants the server to end the connections of all, though they go on, and returns what each was told before.
func (w *world) cut(all []slowClient) map[string]string {
	w.Helper()
	said := map[string]string{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, c := range all {
		conn := w.connect(c.text)
		wait.Go(func() {
			quit := make(chan struct{})
			defer close(quit)
			go goOn(conn, c.goOn, quit)
			text, err := io.ReadAll(conn)
			if e, ok := err.(net.Error); ok && e.Timeout() {
				w.Errorf("%s: the server waits", c.what)
			}
			mu.Lock()
			defer mu.Unlock()
			said[c.what] = string(text)
		})
	}
	wait.Wait()
	return said
}

func goOn(conn net.Conn, text string, quit chan struct{}) {
	for text != "" {
		select {
		case <-quit:
			return
		case <-time.After(20 * time.Millisecond):
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
}

// TestSlowSender cuts clients whose requests take too long: in the header, and in a body, of who may ask and of who may
// not.
func TestSlowSender(t *testing.T) {
	for _, token := range []string{"", testToken} {
		w := newSlowWorld(t, token)
		w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
		const head = " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer " + testToken + "\r\n"
		said := w.cut([]slowClient{
			{"no header", "", ""},
			{"a header without end", "GET /v1/vms HTTP/1.1\r\n", "X: y\r\n"},
			{"a body that stops", "POST /v1/vms" + head + "Content-Length: 100\r\n\r\n{", ""},
			{"a chunked body that stops", "POST /v1/vms" + head + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", ""},
			{"a file that stops", "PUT /v1/vms/a/files?path=" + t.TempDir() + "/f" + head + "Content-Length: 100\r\n\r\nx", ""},
			{"a body for who is refused", "POST /v1/vms HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000\r\n\r\nx", ""},
			{"a body for no path", "POST /v1/none" + head + "Content-Length: 1000\r\n\r\nx", ""},
			{"a body for what takes none", "GET /v1/vms" + head + "Content-Length: 1000\r\n\r\nx", ""},
		})
		if got := said["a body that stops"]; !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("a body that stops: %q", got)
		}
		w.do(200, "GET", "/v1/vms", nil, nil)
	}
}

// TestSlowBody takes a body that comes slowly, but comes.
func TestSlowBody(t *testing.T) {
	w := newSlowWorld(t, "")
	w.do(201, "POST", "/v1/vms", slowly(`{"name":              "a"}`), nil)
}

// TestSlowE2B takes a body of an E2B client that comes slowly, has its stream last while neither says anything, and cuts
// bodies that stop.
func TestSlowE2B(t *testing.T) {
	w := e2bWorld{newSlowWorld(t, testToken)}
	s := w.make(map[string]any{})
	file, text := filepath.Join(t.TempDir(), "f"), strings.Repeat("x", 25)
	w.do(200, "POST", "/e2b/files?path="+file, slowly(text), nil, s.envd("Content-Type: application/octet-stream")...)
	if got, err := os.ReadFile(file); string(got) != text {
		t.Errorf("%q, %v", got, err)
	}
	k := w.stream(s, "process.Process/Start", shLine("sleep 3; echo late"))
	if e := k.end(); e.Event.End.ExitCode != 0 || k.out != "late\n" {
		t.Errorf("%+v, %+v", e, k)
	}
	var all []slowClient
	for what, kind := range map[string]string{"a form that stops": "multipart/form-data; boundary=b", "a file that stops": "application/octet-stream"} {
		all = append(all, slowClient{what, "POST /e2b/files?path=" + file + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n" +
			strings.Join(s.envd("Content-Type: "+kind), "\r\n") + "\r\n\r\n--b", ""})
	}
	w.cut(all)
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
