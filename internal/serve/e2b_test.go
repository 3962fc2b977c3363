package serve

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"noid/internal/vm"
)

// e2bWorld is a server with a token, of which a client of E2B's makes sandboxes.
type e2bWorld struct{ *world }

func newE2BWorld(t *testing.T) e2bWorld { return e2bWorld{newWorld(t, testToken)} }

// e2bSandbox is one as the client has it.
type e2bSandbox struct {
	ID       string            `json:"sandboxID"`
	Token    string            `json:"envdAccessToken"`
	State    string            `json:"state"`
	Metadata map[string]string `json:"metadata"`
	End      time.Time         `json:"endAt"`
}

// api asks the API of sandboxes with the key, and wants a status.
func (w e2bWorld) api(status int, method, path string, body, out any, headers ...string) string {
	w.Helper()
	return w.do(status, method, "/e2b"+path, body, out, append([]string{"Authorization: ", "X-API-Key: " + testToken}, headers...)...)
}

func (w e2bWorld) make(body map[string]any, headers ...string) (s e2bSandbox) {
	w.Helper()
	if body["templateID"] == nil {
		body["templateID"] = "base"
	}
	w.api(201, "POST", "/v2/sandboxes", body, &s, headers...)
	return s
}

// envd are the headers for envd in s.
func (s e2bSandbox) envd(more ...string) []string {
	return append([]string{"Authorization: ", "E2b-Sandbox-Id: " + s.ID, "E2b-Sandbox-Port: 49983", "X-Access-Token: " + s.Token}, more...)
}

// call calls a procedure with one message, and wants a status.
func (w e2bWorld) call(s e2bSandbox, status int, procedure string, in, out any) string {
	w.Helper()
	return w.do(status, "POST", "/e2b/"+procedure, in, out, s.envd("Connect-Protocol-Version: 1")...)
}

// envelope is messages as a stream has them.
func envelope(flags byte, messages ...any) io.Reader {
	var b []byte
	for _, m := range messages {
		doc := must(json.Marshal(m))
		b = append(binary.BigEndian.AppendUint32(append(b, flags), uint32(len(doc))), doc...)
	}
	return bytes.NewReader(b)
}

// e2bEvent is a message of an answer: of a process, or the last one.
type e2bEvent struct {
	Event struct {
		Start *struct{ PID int }
		Data  *struct{ Stdout, Stderr, PTY []byte }
		End   *struct {
			ExitCode int
			Exited   bool
			Error    string
		}
		Keepalive *struct{}
	}
	Error *struct{ Code, Message string }
	last  bool
}

// events is a stream of a command.
type e2bStream struct {
	*testing.T
	r           io.ReadCloser
	pid         int
	out, stderr string
}

func (w e2bWorld) stream(s e2bSandbox, procedure string, in any, headers ...string) *e2bStream {
	w.Helper()
	a := w.request("POST", "/e2b/"+procedure, envelope(0, in), s.envd(append(headers, "Content-Type: application/connect+json")...)...)
	w.Cleanup(func() { a.Body.Close() })
	if a.StatusCode != 200 {
		data, _ := io.ReadAll(a.Body)
		w.Fatalf("%s: %d %s", procedure, a.StatusCode, data)
	}
	return &e2bStream{T: w.T, r: a.Body}
}

func (s *e2bStream) next() (e e2bEvent) {
	s.Helper()
	var head [5]byte
	_, err := io.ReadFull(s.r, head[:])
	check(s.T, err)
	body := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err = io.ReadFull(s.r, body)
	check(s.T, err)
	check(s.T, json.Unmarshal(body, &e))
	e.last = head[0] == 2
	if e.Event.Start != nil {
		s.pid = e.Event.Start.PID
	}
	if d := e.Event.Data; d != nil {
		s.out += string(d.Stdout) + string(d.PTY)
		s.stderr += string(d.Stderr)
	}
	return e
}

// end reads until the command has ended.
func (s *e2bStream) end() e2bEvent {
	s.Helper()
	for {
		if e := s.next(); e.Event.End != nil {
			if last := s.next(); !last.last || last.Error != nil {
				s.Errorf("the last message: %+v", last)
			}
			return e
		} else if e.last {
			s.Fatalf("ended without an end: %+v", e.Error)
		}
	}
}

func shLine(line string) map[string]any {
	return map[string]any{"process": map[string]any{"cmd": "/bin/sh", "args": []string{"-c", line}}, "stdin": false}
}

func process(pid int, more map[string]any) map[string]any {
	in := map[string]any{"process": map[string]any{"pid": pid}}
	for k, v := range more {
		in[k] = v
	}
	return in
}

// TestE2BLife goes through the life of a sandbox.
func TestE2BLife(t *testing.T) {
	w := newE2BWorld(t)
	s := w.make(map[string]any{"metadata": map[string]string{"job": "a b&c"}, "timeout": 1000})
	w.make(map[string]any{"metadata": map[string]string{"job": "other"}})
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "own"}, nil)
	var list []e2bSandbox
	if w.api(200, "GET", "/v2/sandboxes", nil, &list); len(list) != 2 {
		t.Errorf("what E2B's client has made: %+v", list)
	}
	if w.api(200, "GET", "/v2/sandboxes?state=running&metadata=job%3Da%252520b%252526c", nil, &list); len(list) != 1 || list[0].ID != s.ID || list[0].Metadata["job"] != "a b&c" {
		t.Errorf("by metadata: %+v", list)
	}
	a := w.request("GET", "/e2b/v2/sandboxes?limit=1&order=asc", nil)
	a.Body.Close()
	if w.api(200, "GET", "/v2/sandboxes?limit=1&order=asc&nextToken="+a.Header.Get("X-Next-Token"), nil, &list); len(list) != 1 || list[0].ID == s.ID {
		t.Errorf("the second page after %q: %+v", a.Header.Get("X-Next-Token"), list)
	}
	w.api(204, "POST", "/sandboxes/"+s.ID+"/timeout", map[string]any{"timeout": 5000}, nil)
	var d e2bSandbox
	if w.api(200, "GET", "/sandboxes/"+s.ID, nil, &d); d.State != "running" || time.Until(d.End) < 4000*time.Second {
		t.Errorf("details: %+v", d)
	}
	w.api(400, "POST", "/sandboxes/own/timeout", map[string]any{"timeout": 1}, nil)
	w.api(204, "POST", "/sandboxes/"+s.ID+"/pause", nil, nil)
	w.api(409, "POST", "/sandboxes/"+s.ID+"/pause", map[string]any{}, nil)
	w.api(409, "POST", "/sandboxes/"+s.ID+"/timeout", map[string]any{"timeout": 1}, nil)
	w.api(409, "POST", "/sandboxes/"+s.ID+"/fork", nil, nil)
	if text := w.do(502, "GET", "/e2b/health", nil, nil, s.envd()...); !strings.Contains(text, "was not found") {
		t.Errorf("a paused one: %s", text)
	}
	w.api(201, "POST", "/v2/sandboxes/"+s.ID+"/connect", map[string]any{"timeout": 60}, nil)
	w.api(200, "POST", "/v2/sandboxes/"+s.ID+"/connect", map[string]any{"timeout": 6000}, nil)
	w.do(204, "GET", "/e2b/health", nil, nil, s.envd()...)
	var forks []struct{ Sandbox e2bSandbox }
	w.api(201, "POST", "/sandboxes/"+s.ID+"/fork", map[string]any{"count": 2, "timeout": 500}, &forks)
	if len(forks) != 2 || forks[0].Sandbox.ID == forks[1].Sandbox.ID {
		t.Fatalf("forks: %+v", forks)
	}
	w.do(204, "GET", "/e2b/health", nil, nil, forks[1].Sandbox.envd()...)
	if w.api(200, "GET", "/sandboxes/"+forks[0].Sandbox.ID, nil, &d); d.Metadata["job"] != "a b&c" || time.Until(d.End) > 500*time.Second {
		t.Errorf("a fork: %+v", d)
	}
	var snapshot struct{ SnapshotID string }
	w.api(201, "POST", "/sandboxes/"+s.ID+"/snapshots", map[string]any{"name": "before"}, &snapshot)
	w.make(map[string]any{"templateID": snapshot.SnapshotID})
	w.do(200, "POST", "/v1/vms/"+s.ID+"/checkpoints/before/restore", nil, nil) // what is kept with it stays
	if w.api(200, "GET", "/sandboxes/"+s.ID, nil, &d); d.Metadata["job"] != "a b&c" || time.Until(d.End) < 5000*time.Second {
		t.Errorf("put back: %+v", d)
	}
	w.api(204, "DELETE", "/sandboxes/"+s.ID, nil, nil)
	w.api(404, "DELETE", "/sandboxes/"+s.ID, nil, nil)
	w.api(404, "GET", "/sandboxes/"+s.ID, nil, nil)
	if text := w.do(502, "GET", "/e2b/health", nil, nil, s.envd()...); !strings.Contains(text, "was not found") {
		t.Errorf("one that is gone: %s", text)
	}
	w.make(map[string]any{"templateID": snapshot.SnapshotID}) // its snapshots stay
	first := w.make(map[string]any{}, "Idempotency-Key: 5f1c")
	if again := w.make(map[string]any{}, "Idempotency-Key: 5f1c"); again.ID != first.ID {
		t.Errorf("the same key: %s and %s", first.ID, again.ID)
	}
}

// TestE2BFailedCreate destroys nothing that another request has made when a sandbox cannot be made: neither the snapshots
// of an earlier one with the same key, nor what another request with it has made meanwhile.
func TestE2BFailedCreate(t *testing.T) {
	w := newE2BWorld(t)
	const key = "Idempotency-Key: 77ab"
	s := w.make(map[string]any{}, key)
	var snapshot struct{ SnapshotID string }
	w.api(201, "POST", "/sandboxes/"+s.ID+"/snapshots", nil, &snapshot)
	w.api(204, "DELETE", "/sandboxes/"+s.ID, nil, nil)
	w.api(404, "POST", "/v2/sandboxes", map[string]any{"templateID": "none@01234567"}, nil, key)
	w.make(map[string]any{"templateID": snapshot.SnapshotID})

	var once sync.Once
	var other e2bSandbox
	registry := httptest.NewServer(http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) { // a fake one, which has nothing
		once.Do(func() { other = w.make(map[string]any{}, key) })
		http.NotFound(a, r)
	}))
	defer registry.Close()
	image := strings.TrimPrefix(registry.URL, "http://") + "/x:y"
	a := w.request("POST", "/e2b/v2/sandboxes", map[string]any{"templateID": image}, key)
	a.Body.Close()
	if other.ID == "" || a.StatusCode < 400 {
		t.Fatalf("of an image that is not there: %s", a.Status)
	}
	w.api(200, "GET", "/sandboxes/"+other.ID, nil, nil)
}

// TestE2BRefused refuses what noid does not do, and who has no token, in the words that the client reads.
func TestE2BRefused(t *testing.T) {
	w := newE2BWorld(t)
	s, other := w.make(map[string]any{}), w.make(map[string]any{})
	for _, c := range []struct {
		status int
		body   map[string]any
	}{{501, map[string]any{"network": map[string]any{"denyOut": []string{"1.1.1.1"}}}}, {501, map[string]any{"mcp": map[string]any{"x": 1}}},
		{501, map[string]any{"autoResume": map[string]any{"enabled": true}}}, {400, map[string]any{"unheard": 1}}, {400, map[string]any{"timeout": -1}},
		{400, map[string]any{"envVars": map[string]string{"A=B": "x"}}}, {400, map[string]any{"metadata": map[string]string{"a": strings.Repeat("x", 70_000)}}},
		{400, map[string]any{"templateID": "dir:/etc"}}, {404, map[string]any{"templateID": "none@01234567"}}, {502, map[string]any{"templateID": "127.0.0.1:1/x:y"}}} {
		if c.body["templateID"] == nil {
			c.body["templateID"] = "base"
		}
		var p struct {
			Code    int
			Message string
		}
		if w.api(c.status, "POST", "/v2/sandboxes", c.body, &p); p.Code != c.status || p.Message == "" {
			t.Errorf("%v: %+v", c.body, p)
		}
	}
	var list []e2bSandbox
	if w.api(200, "GET", "/v2/sandboxes", nil, &list); len(list) != 2 {
		t.Errorf("what was refused left %+v", list)
	}
	w.api(501, "GET", "/sandboxes/"+s.ID+"/metrics", nil, nil)
	w.api(501, "POST", "/sandboxes", map[string]any{}, nil)
	if text := w.do(401, "GET", "/e2b/v2/sandboxes", nil, nil, "Authorization: ", "X-API-Key: wrong"); !strings.Contains(text, `"code":401`) {
		t.Errorf("without the key: %s", text)
	}
	w.do(401, "GET", "/e2b/v2/sandboxes", nil, nil, s.envd()...) // envd's token is not for the API
	w.do(401, "GET", "/v1/vms", nil, nil, "Authorization: ", "X-API-Key: "+testToken)
	w.do(401, "GET", "/e2b/health", nil, nil, e2bSandbox{ID: s.ID, Token: other.Token}.envd()...)
	w.do(401, "GET", "/e2b/health", nil, nil, e2bSandbox{ID: "", Token: s.Token}.envd()...)
	w.do(403, "GET", "/e2b/health", nil, nil, s.envd("Origin: http://evil.example")...)
	w.do(421, "GET", "/e2b/health", nil, nil, s.envd("Host: evil.example")...)
	w.do(501, "GET", "/e2b/health", nil, nil, s.envd("E2b-Sandbox-Port: 3000")...)
	w.call(s, 501, "filesystem.Filesystem/CreateWatcher", map[string]any{"path": "/tmp"}, nil)
	w.call(s, 400, "process.Process/SendSignal", process(1, map[string]any{"signal": "SIGNAL_SIGHUP"}), nil)
	w.do(501, "POST", "/e2b/process.Process/List", strings.NewReader("{}"), nil, s.envd("Content-Type: application/proto")...)
	w.do(501, "POST", "/e2b/process.Process/List", strings.NewReader("{}"), nil, s.envd("Content-Encoding: gzip")...)
	w.do(400, "POST", "/e2b/process.Process/List", strings.NewReader(`{"x":"`+strings.Repeat("x", 5<<20)+`"}`), nil, s.envd()...)
	a := w.request("POST", "/e2b/process.Process/Start", bytes.NewReader([]byte{0, 0xff, 0xff, 0xff, 0xff}), s.envd("Content-Type: application/connect+json")...)
	if e := (&e2bStream{T: t, r: a.Body}).next(); e.Error == nil || e.Error.Code != "resource_exhausted" {
		t.Errorf("a message of 4 GiB: %+v", e)
	}
	a.Body.Close()
}

// TestE2BProcesses runs commands, which outlive who has started them.
func TestE2BProcesses(t *testing.T) {
	w := newE2BWorld(t)
	s := w.make(map[string]any{"envVars": map[string]string{"A": "one", "B": "one"}})
	in := shLine(`echo "$A $B"; echo err >&2; exit 7`)
	in["process"].(map[string]any)["envs"] = map[string]string{"B": "two"}
	k := w.stream(s, "process.Process/Start", in)
	if e := k.end(); e.Event.End.ExitCode != 7 || !e.Event.End.Exited || k.out != "one two\n" || k.stderr != "err\n" || k.pid <= 0 {
		t.Errorf("%+v, %+v", e.Event.End, k)
	}
	k = w.stream(s, "process.Process/Start", shLine("seq 1 300000")) // none of it is lost before somebody reads
	if k.end(); !strings.HasPrefix(k.out, "1\n2\n") || len(k.out) != 1988895 {
		t.Errorf("%d bytes", len(k.out))
	}

	in = shLine("cat; echo bye")
	in["stdin"] = true
	k = w.stream(s, "process.Process/Start", in, "Keepalive-Ping-Interval: 1")
	for e := k.next(); e.Event.Keepalive == nil; e = k.next() {
	}
	k.r.Close() // it runs on
	var list struct {
		Processes []struct {
			PID    int
			Config struct{ Cmd string }
		}
	}
	if w.call(s, 200, "process.Process/List", map[string]any{}, &list); len(list.Processes) != 1 || list.Processes[0].PID != k.pid || list.Processes[0].Config.Cmd != "/bin/sh" {
		t.Fatalf("those that run: %+v, not %d", list, k.pid)
	}
	w.call(s, 200, "process.Process/SendInput", process(k.pid, map[string]any{"input": map[string]any{"stdin": base64.StdEncoding.EncodeToString([]byte("hello\n"))}}), nil)
	again := w.stream(s, "process.Process/Connect", process(k.pid, nil))
	a := w.request("POST", "/e2b/process.Process/StreamInput", envelope(0, map[string]any{"start": process(k.pid, nil)}, map[string]any{"keepalive": map[string]any{}},
		map[string]any{"data": map[string]any{"input": map[string]any{"stdin": []byte("more\n")}}}), s.envd("Content-Type: application/connect+json")...)
	if b, err := io.ReadAll(a.Body); err != nil || string(b) != "\x00\x00\x00\x00\x02{}\x02\x00\x00\x00\x02{}" {
		t.Errorf("a stream of input: %q, %v", b, err)
	}
	w.call(s, 200, "process.Process/CloseStdin", process(k.pid, nil), nil)
	if e := again.end(); e.Event.End.ExitCode != 0 || again.out != "hello\nmore\nbye\n" || again.pid != k.pid {
		t.Errorf("connected again: %+v, %+v", e.Event.End, again)
	}
	w.call(s, 404, "process.Process/SendInput", process(k.pid, map[string]any{"input": map[string]any{"stdin": "eA=="}}), nil)

	k = w.stream(s, "process.Process/Start", shLine("sleep 1000"))
	k.next()
	w.call(s, 400, "process.Process/SendInput", process(k.pid, map[string]any{"input": map[string]any{"stdin": "eA=="}}), nil)
	w.call(s, 200, "process.Process/SendSignal", process(k.pid, map[string]any{"signal": "SIGNAL_SIGKILL"}), nil)
	if e := k.end(); e.Event.End.ExitCode != -1 || e.Event.End.Error != "signal: killed" {
		t.Errorf("killed: %+v", e.Event.End)
	}
	w.call(s, 404, "process.Process/SendSignal", process(k.pid, map[string]any{"signal": "SIGNAL_SIGKILL"}), nil)
	k = w.stream(s, "process.Process/Start", shLine("sleep 1000"), "Connect-Timeout-Ms: 1")
	if e := k.end(); e.Event.End.Error != "signal: terminated" {
		t.Errorf("its time is over: %+v", e.Event.End)
	}
	k = w.stream(s, "process.Process/Start", map[string]any{"process": map[string]any{"cmd": "/no/such"}})
	if e := k.next(); !e.last || e.Error == nil || e.Error.Code != "invalid_argument" {
		t.Errorf("no such command: %+v", e)
	}
	k = w.stream(s, "process.Process/Start", shLine("echo ready; exec sleep 1000"))
	for k.out == "" { // until it is read
		k.next()
	}
	second := w.stream(s, "process.Process/Connect", process(k.pid, nil))
	second.next()
	if e := second.next(); !e.last || e.Error == nil || e.Error.Code != "failed_precondition" {
		t.Errorf("a second reader: %+v", e)
	}
	w.api(204, "DELETE", "/sandboxes/"+s.ID, nil, nil)
	if e := k.next(); !e.last || e.Error == nil || e.Error.Code != "unavailable" || !strings.Contains(e.Error.Message, "was not found") {
		t.Errorf("its sandbox is killed: %+v", e)
	}
	s = w.make(map[string]any{})
	in = shLine("stty size; read line; stty size")
	in["pty"] = map[string]any{"size": map[string]any{"cols": 90, "rows": 30}}
	k = w.stream(s, "process.Process/Start", in)
	for k.next(); k.out == ""; k.next() {
	}
	w.call(s, 200, "process.Process/Update", process(k.pid, map[string]any{"pty": map[string]any{"size": map[string]any{"cols": 100, "rows": 40}}}), nil)
	w.call(s, 200, "process.Process/SendInput", process(k.pid, map[string]any{"input": map[string]any{"pty": "Cg=="}}), nil)
	if k.end(); !strings.HasPrefix(k.out, "30 90\r\n") || !strings.HasSuffix(k.out, "40 100\r\n") {
		t.Errorf("a terminal: %q", k.out)
	}
}

// TestE2BInputEnds ends streams of input whose clients say nothing more: when the time of the call is over, and when the
// server ends.
func TestE2BInputEnds(t *testing.T) {
	w := newE2BWorld(t)
	s := w.make(map[string]any{})
	in := shLine("cat")
	in["stdin"] = true
	k := w.stream(s, "process.Process/Start", in)
	k.next()
	input := func(headers ...string) (pipe *io.PipeWriter, answer chan *http.Response) {
		r, pipe := io.Pipe()
		answer = make(chan *http.Response, 1)
		go func() {
			answer <- w.request("POST", "/e2b/process.Process/StreamInput", io.Reader(r), s.envd(append(headers, "Content-Type: application/connect+json")...)...)
		}()
		return pipe, answer
	}
	ends := func(code string, answer chan *http.Response) {
		t.Helper()
		select {
		case a := <-answer:
			defer a.Body.Close()
			if e := (&e2bStream{T: t, r: a.Body}).next(); !e.last || e.Error == nil || e.Error.Code != code {
				t.Errorf("the last message: %+v, not %s", e, code)
			}
		case <-time.After(time.Minute):
			t.Fatalf("no end of the code %s", code)
		}
	}
	pipe, answer := input("Connect-Timeout-Ms: 1")
	defer pipe.Close()
	ends("deadline_exceeded", answer)

	pipe, answer = input()
	defer pipe.Close()
	io.Copy(pipe, envelope(0, map[string]any{"start": process(k.pid, nil)}, map[string]any{"data": map[string]any{"input": map[string]any{"stdin": []byte("x")}}}))
	for k.out == "" { // until it waits for more
		k.next()
	}
	ended := make(chan error, 1)
	go func() { ended <- w.stop() }()
	ends("unavailable", answer)
	select {
	case err := <-ended:
		check(t, err)
	case <-time.After(time.Minute):
		t.Fatal("the server does not end")
	}
}

// TestE2BFiles reads and writes files.
func TestE2BFiles(t *testing.T) {
	w := newE2BWorld(t)
	s := w.make(map[string]any{})
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	type entry struct{ Name, Path, Type, Size, Permissions, Owner string }
	var written []entry
	w.do(200, "POST", "/e2b/files?path="+at("a/b/one"), strings.NewReader("one"), &written, s.envd("Content-Type: application/octet-stream")...)
	if len(written) != 1 || written[0] != (entry{Name: "one", Path: at("a/b/one"), Type: "file"}) {
		t.Errorf("written: %+v", written)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	io.WriteString(z, "two")
	check(t, z.Close())
	w.do(200, "POST", "/e2b/files?path="+at("a/two"), &zipped, nil, s.envd("Content-Type: application/octet-stream", "Content-Encoding: gzip")...)
	var form bytes.Buffer
	f := multipart.NewWriter(&form)
	for _, name := range []string{"a/three", "a/c/four"} {
		part, err := f.CreateFormFile("file", at(name))
		check(t, err)
		io.WriteString(part, filepath.Base(name))
	}
	check(t, f.Close())
	w.do(200, "POST", "/e2b/files", &form, nil, s.envd("Content-Type: "+f.FormDataContentType())...)
	for name, want := range map[string]string{"a/b/one": "one", "a/two": "two", "a/three": "three", "a/c/four": "four"} {
		if text := w.do(200, "GET", "/e2b/files?path="+at(name), nil, nil, s.envd()...); text != want {
			t.Errorf("%s: %q", name, text)
		}
	}
	var list struct{ Entries []entry }
	w.call(s, 200, "filesystem.Filesystem/ListDir", map[string]any{"path": at("a"), "depth": 2}, &list)
	var paths []string
	for _, e := range list.Entries {
		paths = append(paths, strings.TrimPrefix(e.Path, dir))
	}
	if slices.Sort(paths); fmt.Sprint(paths) != "[/a/b /a/b/one /a/c /a/c/four /a/three /a/two]" {
		t.Errorf("listed: %v", paths)
	}
	var one struct{ Entry entry }
	w.call(s, 200, "filesystem.Filesystem/Stat", map[string]any{"path": at("a/two")}, &one)
	if one.Entry != (entry{"two", at("a/two"), "FILE_TYPE_FILE", "3", "-rw-r--r--", "root"}) && one.Entry.Owner == "root" {
		t.Errorf("stat: %+v", one)
	}
	w.call(s, 404, "filesystem.Filesystem/Stat", map[string]any{"path": at("none")}, nil)
	w.call(s, 200, "filesystem.Filesystem/MakeDir", map[string]any{"path": at("x/y")}, nil)
	w.call(s, 409, "filesystem.Filesystem/MakeDir", map[string]any{"path": at("x/y")}, nil)
	w.call(s, 200, "filesystem.Filesystem/Move", map[string]any{"source": at("a/two"), "destination": at("new/zwei")}, &one)
	if one.Entry.Name != "zwei" {
		t.Errorf("moved: %+v", one)
	}
	w.call(s, 404, "filesystem.Filesystem/Move", map[string]any{"source": at("a/two"), "destination": at("b")}, nil)
	w.call(s, 200, "filesystem.Filesystem/Remove", map[string]any{"path": at("a")}, nil)
	w.call(s, 200, "filesystem.Filesystem/Remove", map[string]any{"path": at("a")}, nil)
	w.call(s, 404, "filesystem.Filesystem/ListDir", map[string]any{"path": at("a")}, nil)
	w.do(404, "GET", "/e2b/files?path="+at("a/two"), nil, nil, s.envd()...)
	w.do(400, "GET", "/e2b/files?path="+at("x"), nil, nil, s.envd()...)
	octets := s.envd("Content-Type: application/octet-stream")
	if text := w.do(400, "POST", "/e2b/files?path="+at("x"), strings.NewReader("x"), nil, octets...); !strings.Contains(text, at("x")+" is a directory") {
		t.Error("a directory:", text)
	}
	w.do(507, "POST", "/e2b/files?path=/dev/full", strings.NewReader("x"), nil, octets...)
	noOne := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("no-one:"))
	for _, text := range []string{
		w.do(400, "GET", "/e2b/files?username=no-one&path="+at("new/zwei"), nil, nil, s.envd()...),
		w.do(400, "GET", "/e2b/files?username=no-one&path=zwei", nil, nil, s.envd()...),
		w.do(400, "POST", "/e2b/files?username=no-one&path="+at("x/z"), strings.NewReader("x"), nil, octets...),
		w.do(400, "POST", "/e2b/filesystem.Filesystem/Stat", map[string]any{"path": at("new/zwei")}, nil, s.envd("Connect-Protocol-Version: 1", noOne)...),
	} {
		if !strings.Contains(text, `no user \"no-one\" in the sandbox`) {
			t.Error("a user who is not there:", text)
		}
	}
	w.do(400, "POST", "/e2b/files", strings.NewReader("x"), nil, s.envd("Content-Type: application/octet-stream")...)
	w.do(501, "POST", "/e2b/files?path="+at("m"), strings.NewReader("x"), nil, s.envd("Content-Type: application/octet-stream", "X-Metadata-A: b")...)
	half := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + at("new/zwei") + "\"\r\n\r\nhal"
	zipped.Reset()
	z.Reset(&zipped)
	io.WriteString(z, "half")
	check(t, z.Flush()) // and no more
	for _, text := range []string{
		w.do(400, "POST", "/e2b/files", strings.NewReader(half), nil, s.envd("Content-Type: multipart/form-data; boundary=b")...),
		w.do(400, "POST", "/e2b/files?path="+at("new/zwei"), &zipped, nil, s.envd("Content-Type: application/octet-stream", "Content-Encoding: gzip")...),
	} {
		if !strings.Contains(text, "the content: unexpected EOF: send all of it again") {
			t.Error("half a file:", text)
		}
	}
	if text := w.do(200, "GET", "/e2b/files?path="+at("new/zwei"), nil, nil, s.envd()...); text != "two" {
		t.Errorf("of half an upload there is %q", text)
	}
	w.do(400, "POST", "/e2b/files?path="+at("z"), strings.NewReader("no gzip"), nil, s.envd("Content-Type: application/octet-stream", "Content-Encoding: gzip")...)
}

// TestE2BEnds ends sandboxes whose time is over, and no others.
func TestE2BEnds(t *testing.T) {
	w := newE2BWorld(t)
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "own"}, nil)
	stays, paused, pauses, ends := w.make(map[string]any{}), w.make(map[string]any{}), w.make(map[string]any{"autoPause": true}), w.make(map[string]any{})
	w.api(204, "POST", "/sandboxes/"+paused.ID+"/pause", nil, nil)
	for _, s := range []e2bSandbox{pauses, ends} {
		w.api(204, "POST", "/sandboxes/"+s.ID+"/timeout", map[string]any{"timeout": 0}, nil)
	}
	state := func(s e2bSandbox) string {
		a := w.request("GET", "/e2b/sandboxes/"+s.ID, nil)
		defer a.Body.Close()
		var d e2bSandbox
		json.NewDecoder(a.Body).Decode(&d)
		if a.StatusCode == http.StatusNotFound {
			return "gone"
		}
		return d.State
	}
	w.until("one is paused, and one gone", func() bool { return state(pauses) == "paused" && state(ends) == "gone" })
	if state(stays) != "running" || state(paused) != "paused" {
		t.Errorf("those with time: %s, %s", state(stays), state(paused))
	}
	w.do(200, "GET", "/v1/vms/own", nil, nil)
	w.api(201, "POST", "/v2/sandboxes/"+pauses.ID+"/connect", nil, nil)
	if state(pauses) != "running" {
		t.Errorf("connected: %s", state(pauses))
	}
}

// TestE2BEndsFirst waits, when the server ends, for what ends sandboxes.
func TestE2BEndsFirst(t *testing.T) {
	begun, once := make(chan struct{}), sync.Once{}
	var left atomic.Bool
	w := newWorldWith(t, testToken, func(o *Options) {
		open := o.Open
		o.Open = func(ctx context.Context, verb string) (*vm.Manager, error) {
			once.Do(func() { // there are no requests, so this ends sandboxes
				close(begun)
				<-ctx.Done()
				time.Sleep(100 * time.Millisecond)
				left.Store(true)
			})
			return open(ctx, verb)
		}
	})
	<-begun
	check(t, w.stop())
	if !left.Load() {
		t.Error("a server has ended while it ends a sandbox")
	}
}

// TestE2BMetrics counts the checkpoints that E2B's clients make, and the commands that they read.
func TestE2BMetrics(t *testing.T) {
	w := e2bWorld{newWorldWith(t, testToken, func(o *Options) { o.Metrics = true })}
	s := w.make(map[string]any{})
	w.api(201, "POST", "/sandboxes/"+s.ID+"/snapshots", nil, nil)
	k := w.stream(s, "process.Process/Start", shLine("exec sleep 1000"))
	k.next()
	text := w.do(200, "GET", "/metrics", nil, nil)
	for _, line := range []string{"noid_execs_running 1", "noid_checkpoint_downtime_seconds_count 1"} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(text, "\nnoid_checkpoint_written_bytes_total 0\n") {
		t.Error("a checkpoint without bytes")
	}
	k.r.Close()
	w.until("the command is not read any more", func() bool {
		return strings.Contains(w.do(200, "GET", "/metrics", nil, nil), "\nnoid_execs_running 0\n")
	})
}
