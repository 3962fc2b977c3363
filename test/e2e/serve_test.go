package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// server is a 'noid serve' and a client of it.
type server struct {
	noid
	client *http.Client
}

// serve starts a 'noid serve' on its default socket.
func (n noid) serve() (server, *exec.Cmd) {
	n.t.Helper()
	cmd := n.cmd(context.Background(), "serve")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(n.t, err)
	check(n.t, cmd.Start())
	n.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	socket := filepath.Join(n.home, "serve.sock")
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "unix:"+socket+"\n" {
		n.t.Fatalf("noid serve prints %q, %v", line, err)
	}
	return server{n, &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}}, cmd
}

func (s server) send(ctx context.Context, method, path string, body any, headers ...string) *http.Response {
	s.t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		in = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		check(s.t, err)
		in = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost/v1"+path, in)
	check(s.t, err)
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		key, value, _ := strings.Cut(h, ": ")
		r.Header.Set(key, value)
	}
	a, err := s.client.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// do sends a request, wants its answer's status, and reads that into out if it is not nil.
func (s server) do(status int, method, path string, body, out any, headers ...string) string {
	s.t.Helper()
	a := s.send(s.t.Context(), method, path, body, headers...)
	defer a.Body.Close()
	data, err := io.ReadAll(a.Body)
	check(s.t, err)
	if a.StatusCode != status {
		s.t.Fatalf("%s %s: %d, not %d: %s", method, path, a.StatusCode, status, data)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			s.t.Fatalf("%s %s: %v: %s", method, path, err, data)
		}
	}
	return string(data)
}

func (s server) exec(vm, command string) (e executed) {
	s.t.Helper()
	s.do(200, "POST", "/vms/"+vm+"/exec", map[string]any{"command": command}, &e)
	return e
}

// TestServe is a program's session over HTTP with a real guest: it creates a VM, works in it, breaks it, takes that back,
// and goes in the middle.
func TestServe(t *testing.T) {
	t.Parallel()
	n := setup(t)
	s, cmd := n.serve()
	a := s.send(t.Context(), "POST", "/vms", map[string]any{"name": "a", "auto": "exec"}, "Accept: text/event-stream")
	events, err := io.ReadAll(a.Body)
	if a.Body.Close(); err != nil || !strings.Contains(string(events), "event: progress\n") || !strings.Contains(string(events), "event: result\n") {
		t.Fatalf("created: %s, %v", events, err)
	}
	if e := s.exec("a", "echo out; echo err >&2; exit 3"); e != (executed{ExitCode: 3, Stdout: "out\n", Stderr: "err\n"}) {
		t.Errorf("exec: %+v", e)
	}

	binary := bytes.Repeat([]byte("\xff\x00\xfe\n"), 100_000)
	s.do(204, "PUT", "/vms/a/files?path=/root/binary&mode=600", binary, nil, "Content-Type: application/octet-stream")
	if got := s.do(206, "GET", "/vms/a/files?path=/root/binary", nil, nil, "Range: bytes=399998-"); got != "\xfe\n" {
		t.Errorf("a part of a file: %q", got)
	}
	n.equal("its mode", "600 400000\n", n.want(0, "exec", "a", "stat", "-c", "%a %s", "/root/binary"))
	var list struct{ Files []struct{ Name, Type string } }
	if s.do(200, "GET", "/vms/a/files/list?path=/root", nil, &list); !strings.Contains(fmt.Sprint(list.Files), "{binary file}") {
		t.Errorf("list: %+v", list)
	}

	s.exec("a", "echo good >/root/state")
	s.exec("a", "rm -rf /root; echo bad >/etc/broken")
	var diff struct {
		Changes []struct{ Kind, Path string }
	}
	s.do(200, "GET", "/diff?from=a", nil, &diff)
	if found := fmt.Sprint(diff.Changes); !strings.Contains(found, "{added /etc/broken}") || !strings.Contains(found, "{removed /root/state}") {
		t.Errorf("what it broke: %+v", diff)
	}
	s.do(200, "POST", "/vms/a/undo", nil, nil)
	if e := s.exec("a", "cat /root/state; ls /etc/broken"); e.Stdout != "good\n" || e.ExitCode == 0 {
		t.Errorf("after the undo: %+v", e)
	}
	s.serveTravels()
	s.serveSocket()
	s.serveLoses()
	s.serveMany()
	s.do(200, "DELETE", "/vms/a?checkpoints=true", nil, nil)
	check(t, cmd.Process.Signal(os.Interrupt))
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("an interrupted server ends with %d", code)
	}
}

// serveTravels forks, explores, and keeps a variant.
func (s server) serveTravels() {
	s.t.Helper()
	var made struct{ ID string }
	s.do(201, "POST", "/vms/a/checkpoints", map[string]any{"label": "here"}, &made)
	var forked struct {
		VMs []struct{ Name, State string }
	}
	s.do(200, "POST", "/vms/a/fork", map[string]any{"as": "b"}, &forked)
	if fmt.Sprint(forked.VMs) != "[{b running}]" || s.exec("b", "cat /root/state").Stdout != "good\n" {
		s.t.Errorf("forked: %+v", forked)
	}
	var e executed
	if s.do(200, "POST", "/vms/a/exec", map[string]any{"command": "cat /root/state", "at": "here"}, &e); e.Stdout != "good\n" {
		s.t.Errorf("in a checkpoint: %+v", e)
	}
	a := s.send(s.t.Context(), "POST", "/vms/a/explore", map[string]any{"commands": []string{"echo 1 >/root/variant", "false"}}, "Accept: text/event-stream")
	events, err := io.ReadAll(a.Body)
	a.Body.Close()
	if text := string(events); err != nil || strings.Count(text, "event: variant\n") != 2 || !strings.Contains(text, "event: result\n") {
		s.t.Errorf("explored: %s, %v", events, err)
	}
	s.do(200, "POST", "/vms/a/keep", map[string]any{"variant": 1}, nil)
	s.equal("the kept variant", "1\n", s.want(0, "exec", "a", "cat", "/root/variant"))
}

// serveSocket types into a shell over a WebSocket.
func (s server) serveSocket() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), bootLimit)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "http://localhost/v1/vms/a/shell", &websocket.DialOptions{HTTPClient: s.client, Subprotocols: []string{"noid.v1"}})
	check(s.t, err)
	defer conn.CloseNow()
	check(s.t, conn.Write(ctx, websocket.MessageText, []byte(`{"type":"start","cols":91,"rows":17,"term":"xterm"}`)))
	check(s.t, conn.Write(ctx, websocket.MessageBinary, []byte("\x00stty size; exit 5\n")))
	var out string
	for {
		kind, message, err := conn.Read(ctx)
		if err != nil {
			s.t.Fatalf("%v after %q", err, out)
		}
		if kind == websocket.MessageBinary {
			out += string(message[1:])
		} else if !strings.Contains(out, "17 91") || !strings.Contains(string(message), `"exit_code":5`) {
			s.t.Errorf("a shell: %q, then %s", out, message)
		} else {
			return
		}
	}
}

// serveLoses loses a client in the middle of a command, which ends with it.
func (s server) serveLoses() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	a := s.send(ctx, "POST", "/vms/a/exec", map[string]any{"command": "echo $$ >/root/pid; echo begun; exec sleep 1000"}, "Accept: text/event-stream")
	defer a.Body.Close()
	for lines := bufio.NewScanner(a.Body); lines.Scan() && !strings.Contains(lines.Text(), "begun"); {
	}
	cancel()
	s.until("the command has ended", func() bool {
		_, _, code := s.run("exec", "a", "--", "sh", "-c", "kill -0 $(cat /root/pid)")
		return code != 0
	})
}

// serveMany has many clients run commands on two VMs at once.
func (s server) serveMany() {
	s.t.Helper()
	s.do(200, "PUT", "/vms/a/auto", map[string]any{"when": "off"}, nil)
	s.do(200, "PUT", "/vms/b/auto", map[string]any{"when": "off"}, nil)
	var all sync.WaitGroup
	began := time.Now()
	for i := range 20 {
		all.Go(func() {
			for j := range 2 {
				a := s.send(s.t.Context(), "POST", "/vms/"+[]string{"a", "b"}[i%2]+"/exec", map[string]any{"argv": []string{"echo", fmt.Sprint(i, j)}})
				var e executed
				if err := json.NewDecoder(a.Body).Decode(&e); err != nil || e.Stdout != fmt.Sprintln(i, j) {
					s.t.Errorf("client %d: %s, %+v, %v", i, a.Status, e, err)
				}
				a.Body.Close()
			}
		})
	}
	all.Wait()
	s.t.Logf("40 commands of 20 clients on two VMs: %s", time.Since(began))
}
