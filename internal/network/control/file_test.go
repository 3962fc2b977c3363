package control

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pair is two ends of a unix socket.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		if ends[i], err = Conn(os.NewFile(uintptr(fd), "end")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ends[i].Close() })
	}
	return ends[0], ends[1]
}

// TestLines has lines come with and without a descriptor, each with its own, and bounded.
func TestLines(t *testing.T) {
	a, b := pair(t)
	passed, other := pair(t)
	file, err := passed.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	from, to := NewLines(a, 100), NewLines(b, 100)
	if err := from.Write(Errand{}, nil); err != nil {
		t.Fatal(err)
	}
	var e Errand
	if got, err := to.Read(&e); err != nil || got != nil || e.Dial != "" {
		t.Errorf("a line without: %+v, %v, %v", e, got, err)
	}
	if err := from.Write(Errand{Dial: "/a"}, file); err != nil {
		t.Fatal(err)
	}
	got, err := to.Read(&e)
	if err != nil || got == nil || e.Dial != "/a" {
		t.Fatalf("a line with one: %+v, %v, %v", e, got, err)
	}
	conn, err := Conn(got)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(other, buf); err != nil || string(buf) != "hello" {
		t.Errorf("through what was passed: %q, %v", buf, err)
	}
	go a.Write([]byte(`"` + strings.Repeat("x", 1<<20)))
	if _, err := to.Read(&e); err == nil {
		t.Error("a line without an end is read")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := Conn(r); err == nil {
		t.Error("a pipe is a connection")
	}
}

// TestLinesEnd has a connection that was closed here be an error.
func TestLinesEnd(t *testing.T) {
	a, _ := pair(t)
	a.Close()
	if file, err := NewLines(a, 100).Read(new(Errand)); err == nil || file != nil {
		t.Errorf("a closed connection: %v, %v", file, err)
	}
}
