package qemu

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"
)

// answering is a session with a QEMU that says data and then hangs up.
func answering(t *testing.T, data []byte) *client {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socketpair")
		conn, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = conn.(*net.UnixConn)
	}
	go func() {
		ends[1].Write(data)
		ends[1].CloseWrite()
		io.Copy(io.Discard, ends[1])
		ends[1].Close()
	}()
	return &client{conn: ends[0], in: bufio.NewReaderSize(ends[0], 4096), ctx: context.Background(), stop: func() bool { return true }}
}

// FuzzQMP hears any answer of a QEMU that a guest took over: no hang, and errors fit for a terminal.
func FuzzQMP(f *testing.F) {
	const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}` + "\n"
	for _, seed := range []string{
		greeting + `{"return": {}, "id": 1}` + "\n" + `{"event": "STOP"}` + "\n" + `{"return": {"status": "running"}, "id": 2}` + "\n",
		greeting + `{"return": {}, "id": 1}` + "\n" + `{"id": 2, "error": {"class": "GenericError", "desc": "no\u001b[31m"}}` + "\n",
		greeting, "", "{}\n", "null\n", "[]\n", `{"QMP":{}}` + "\n" + `{"id":1}` + "\n" + `{"id":2,"return":7}` + "\n",
		strings.Repeat("x", 70000), strings.Repeat("{}\n", 11000), `{"QMP":` + strings.Repeat("[", 12000) + "\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := answering(t, data)
		defer c.close()
		err := c.greet()
		if err == nil {
			_, err = c.status()
		}
		// A string of the answer's can be in it, bounded by the line's length, or quoted by encoding/json.
		if err != nil && (len(err.Error()) > 2*maxLine || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) })) {
			t.Errorf("an error of %d bytes: %.300q", len(err.Error()), err)
		}
		if len(c.version) > 100 {
			t.Errorf("version %q", c.version)
		}
	})
}

// FuzzEvents reads any file of events.
func FuzzEvents(f *testing.F) {
	f.Add([]byte(`{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}` + "\n"))
	f.Add([]byte("{\n" + `{"event":"SHUTDOWN"}` + "\nnull\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		reason := shutdownReason(data)
		if reason != "" && !bytes.Contains(data, []byte("{")) || len(reason) > 3*len(data) {
			t.Errorf("reason %q in %q", reason, data)
		}
	})
}
