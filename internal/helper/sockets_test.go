package helper

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/vmm"
)

// TestKeepSockets has the broker make the sockets that the configuration names, take who comes to the network helper,
// connect it to what it may reach, and remove all in the end.
func TestKeepSockets(t *testing.T) {
	t.Chdir(t.TempDir())
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	c := network.Config{Mode: network.Default, Sockets: []network.Socket{{Host: in, Guest: "/g"}, {Host: out, Guest: "/o", Out: true}}}
	if err := c.Save("."); err != nil {
		t.Fatal(err)
	}
	server, err := net.Listen("unix", out)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		c, err := server.Accept()
		if err == nil {
			io.WriteString(c, "of the host")
			c.Close()
		}
	}()
	if stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: in, Net: "unix"}); err == nil {
		stale.SetUnlinkOnClose(false) // as a killed helper leaves it
		stale.Close()
	}
	l, err := vmm.Listen(network.ControlSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		keepSockets(ctx, 1)
	}()
	lines := accepted(t, l)
	var ready struct{}
	if _, err := lines.Read(&ready); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(in); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	errand := func(e control.Errand) (done control.Done, file *os.File) {
		t.Helper()
		err := lines.Write(e, nil)
		if err == nil {
			file, err = lines.Read(&done)
		}
		if err != nil {
			t.Fatal(err)
		}
		return done, file
	}
	for _, other := range []string{in, "/", "/dev/log"} {
		if done, file := errand(control.Errand{Dial: other}); done.Error == "" || file != nil {
			t.Errorf("%s is dialled: %+v", other, done)
		}
	}
	done, file := errand(control.Errand{Dial: out})
	conn, err := control.Conn(file)
	if err != nil {
		t.Fatalf("%v, %+v", err, done)
	}
	if text, err := io.ReadAll(conn); err != nil || string(text) != "of the host" {
		t.Errorf("%q, %v", text, err)
	}
	conn.Close()

	came, err := net.Dial("unix", in)
	if err != nil {
		t.Fatal(err)
	}
	defer came.Close()
	request, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer request.Close()
	var r control.Request
	file, err = control.NewLines(request, 1000).Read(&r)
	if err != nil || r.Op != control.Connect || r.Socket != "/g" {
		t.Fatalf("%+v, %v", r, err)
	}
	if conn, err = control.Conn(file); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "of the guest")
	conn.Close()
	json.NewEncoder(request).Encode(control.Answer{})
	came.SetDeadline(time.Now().Add(time.Minute))
	if text, err := io.ReadAll(came); err != nil || string(text) != "of the guest" {
		t.Errorf("%q, %v", text, err)
	}

	end()
	<-ended
	if _, err := os.Lstat(in); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// accepted is the broker's connection, once it is one.
func accepted(t *testing.T, l *net.UnixListener) *control.Lines {
	t.Helper()
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	lines := control.NewLines(conn, 1000)
	var r control.Request
	if _, err := lines.Read(&r); err != nil || r.Op != control.Broker {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := json.NewEncoder(conn).Encode(control.Answer{}); err != nil {
		t.Fatal(err)
	}
	return lines
}
