package serve

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const testToken = "0123456789abcdefghijklmnopqrstuvwxyz"

// TestToken refuses who does not know the token, wherever it is named.
func TestToken(t *testing.T) {
	w := newWorld(t, testToken)
	w.do(200, "GET", "/v1/vms", nil, nil)
	for _, header := range []string{"Authorization: ", "Authorization: Bearer", "Authorization: Bearer " + testToken + "x", "Authorization: Basic " + testToken, "Authorization: Bearer " + testToken[1:],
		"Sec-WebSocket-Protocol: noid.v1, noid.bearer.x"} {
		w.refused(401, "forbidden", "GET", "/v1/vms", nil, "Authorization: ", header)
	}
	if a := w.request("GET", "/v1/vms", nil, "Authorization: x"); !a.Close || a.Body.Close() != nil {
		t.Error("a client that is refused keeps its connection")
	}
	w.do(200, "GET", "/v1/vms", nil, nil, "Authorization: ", "Sec-WebSocket-Protocol: noid.v1, noid.bearer."+testToken)
	w.do(200, "GET", "/openapi.json", nil, nil, "Authorization: ")
}

// TestBrowser refuses what a page of another site can have a browser send.
func TestBrowser(t *testing.T) {
	for _, token := range []string{"", testToken} {
		w := newWorld(t, token)
		for _, host := range []string{"evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example", "[::2]:80"} {
			w.refused(421, "forbidden", "GET", "/v1/vms", nil, "Host: "+host)
		}
		for _, host := range []string{"localhost", "localhost:7070", "127.0.0.1", "127.0.0.9:1", "[::1]:7070", "noid"} {
			w.do(200, "GET", "/v1/vms", nil, nil, "Host: "+host, "Origin: http://"+host)
		}
		for _, headers := range [][]string{{"Origin: http://evil.example"}, {"Origin: null"}, {"Origin: http://localhost:1"}, {"Origin: https://localhost"}, {"Sec-Fetch-Site: cross-site"}, {"Sec-Fetch-Site: same-site"}} {
			w.refused(403, "forbidden", "POST", "/v1/vms", map[string]any{"name": "a"}, append(headers, "Host: localhost")...)
			w.refused(403, "forbidden", "GET", "/v1/vms", nil, append(headers, "Host: localhost")...)
		}
		a := w.request("OPTIONS", "/v1/vms", nil, "Host: localhost", "Origin: http://evil.example", "Access-Control-Request-Method: POST")
		a.Body.Close()
		for name := range a.Header {
			if strings.HasPrefix(name, "Access-Control") {
				t.Errorf("a header of CORS: %s", name)
			}
		}
	}
}

// raw sends text on a connection of its own and returns what comes until the server closes it.
func (w *world) raw(text string) string {
	w.Helper()
	conn, err := net.Dial("unix", filepath.Join(w.home, SocketFile))
	check(w.T, err)
	defer conn.Close()
	go io.WriteString(conn, text)
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	data, err := io.ReadAll(conn)
	if err != nil && len(data) == 0 {
		w.Logf("%.40q: %v", text, err)
	}
	return string(data)
}

// TestSmuggling has no second request hide in a first one, whichever of the two lengths another reader believes.
func TestSmuggling(t *testing.T) {
	w := newWorld(t, "")
	hidden := "POST /v1/vms HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"name\":\"evil\"}"
	for what, text := range map[string]string{
		"both lengths":     "POST /v1/vms/x/undo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"two lengths":      "POST /v1/vms/x/undo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n" + hidden,
		"a strange coding": "POST /v1/vms/x/undo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nTransfer-Encoding: xchunked\r\n\r\n" + hidden,
		"a spaced header":  "POST /v1/vms/x/undo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n" + hidden,
	} {
		if strings.Contains(text, "%d") {
			text = fmt.Sprintf(text, len(hidden))
		}
		if got := w.raw(text); strings.Count(got, "HTTP/1.1 ") != 1 || strings.Contains(got, "201 Created") {
			t.Errorf("%s: %q", what, got)
		}
	}
	w.refused(404, "not_found", "GET", "/v1/vms/evil", nil)
}

// TestGiants refuses headers and bodies that are too large, and goes on.
func TestGiants(t *testing.T) {
	w := newWorld(t, "")
	if got := w.raw("GET /v1/vms HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("a large header: %.200q", got)
	}
	got := w.raw("POST /v1/vms HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000000000\r\n\r\n" + strings.Repeat("x", 2<<20))
	if !strings.HasPrefix(got, "HTTP/1.1 413 ") {
		t.Errorf("a large body: %.200q", got)
	}
	w.do(200, "GET", "/v1/vms", nil, nil)
}

// TestSocket takes over a socket that nobody listens on, and leaves one that answers alone.
func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	check(t, err)
	stale.SetUnlinkOnClose(false)
	stale.Close()
	l, err := ListenUnix(path)
	check(t, err)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if _, err := ListenUnix(path); problemOf(err).Kind != "busy" {
		t.Errorf("a second one: %v", err)
	}
	l.Close()
	other, err := net.Listen("unix", path)
	check(t, err)
	defer other.Close()
	if _, err := ListenUnix(path); problemOf(err).Kind != "busy" {
		t.Errorf("beside another program: %v", err)
	}
	file := filepath.Join(t.TempDir(), "f")
	check(t, os.WriteFile(file, nil, 0o600))
	if _, err := ListenUnix(file); problemOf(err).Kind != "exists" {
		t.Errorf("in the place of a file: %v", err)
	}
	for _, address := range []string{"0.0.0.0:0", ":0", "10.0.0.1:0", "[::]:0", "example.com:0", "127.0.0.1", ""} {
		if l, err := ListenTCP(address); problemOf(err).Kind != "usage" {
			t.Errorf("%s: %v, %v", address, l, err)
		}
	}
}

// TestTokenFile makes a token once, and refuses a file that others can read.
func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	token, err := Token(path)
	check(t, err)
	info, err := os.Stat(path)
	check(t, err)
	if again, err := Token(path); err != nil || again != token || len(token) < minToken || info.Mode().Perm() != 0o600 {
		t.Errorf("%q, then %q; %v; %s", token, again, err, info.Mode())
	}
	check(t, os.Chmod(path, 0o640))
	if _, err := Token(path); problemOf(err).Kind != "usage" {
		t.Errorf("a file that others can read: %v", err)
	}
	check(t, os.WriteFile(path, []byte("short\n"), 0o600))
	check(t, os.Chmod(path, 0o600))
	if _, err := Token(path); problemOf(err).Kind != "usage" {
		t.Errorf("a short token: %v", err)
	}
}

// TestEnd ends the server while a command runs, and events are read: both are told, and the server returns.
func TestEnd(t *testing.T) {
	w := newWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	a := w.request("POST", "/v1/vms/a/exec", map[string]any{"command": "echo begun; sleep 1000"}, "Accept: text/event-stream")
	defer a.Body.Close()
	in := bufio.NewReader(a.Body)
	readEvents(t, in, func(e event) bool { return strings.Contains(e.data, "begun") })
	check(t, w.stop())
	rest, _ := io.ReadAll(in)
	if !bytes.Contains(rest, []byte("event: error")) || !bytes.Contains(rest, []byte(`"kind":"interrupted"`)) {
		t.Errorf("the last of it: %q", rest)
	}
	if _, err := net.Dial("unix", filepath.Join(w.home, SocketFile)); err == nil {
		t.Error("somebody listens still")
	}
}

// TestOtherUser refuses the connection of another user, though the socket's mode would let that one in.
func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: root alone can be another user")
	}
	w := newWorld(t, "")
	path := filepath.Join(t.TempDir(), "open")
	check(t, os.Chmod(filepath.Dir(path), 0o755))
	check(t, os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755))
	l, err := ListenUnix(path)
	check(t, err)
	check(t, os.Chmod(path, 0o777))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, Options{Open: w.open, Version: "test"}, l) }()
	ask := func(uid uint32) string {
		self, err := os.Open("/proc/self/exe") // whose path another user may not reach
		check(t, err)
		defer self.Close()
		cmd := exec.Command("/proc/self/fd/3", connectWord, path)
		cmd.ExtraFiles = []*os.File{self}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if text := ask(0); !strings.Contains(text, "200 OK") {
		t.Errorf("this user: %q", text)
	}
	if text := ask(65534); strings.Contains(text, "HTTP/") || strings.Contains(text, "dial") {
		t.Errorf("another user: %q", text)
	}
	cancel()
	check(t, <-ended)
}
