package serve

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"noid/internal/vm"
)

// activatedWord has this test program be a server that systemd has started: it serves the home that comes next on the
// socket that was passed to it.
const activatedWord = "activated"

func activated(home string) int {
	l, err := Activated()
	if err != nil {
		fmt.Println(problemOf(err).Kind, err)
		return 1
	}
	if l == nil {
		fmt.Println("none")
		return 0
	}
	fmt.Println(l.Addr(), os.Getenv("LISTEN_FDS")+os.Getenv("LISTEN_PID")+os.Getenv("LISTEN_FDNAMES"))
	open := func(ctx context.Context, verb string) (*vm.Manager, error) { return vm.Open(ctx, home, verb, false) }
	if err := Serve(context.Background(), Options{Open: open, Version: "activated"}, l); err != nil {
		fmt.Println(err)
	}
	return 0
}

// passing starts a server as systemd does, with files as its sockets, for the process pid ("$$" is its own). It returns
// the first line that it prints.
func passing(t *testing.T, pid string, files ...*os.File) string {
	t.Helper()
	self, err := os.Executable()
	check(t, err)
	cmd := exec.Command("sh", "-c", `LISTEN_PID=`+pid+` LISTEN_FDS=$1 LISTEN_FDNAMES=x exec "$0" `+activatedWord+` "$2"`, self, fmt.Sprint(len(files)), t.TempDir())
	cmd.ExtraFiles = files
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, _ := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(line)
}

// TestActivated serves on the one socket that systemd passes, and takes no other than it would make itself.
func TestActivated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	unix, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	check(t, err)
	defer unix.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer tcp.Close()
	wide, err := net.Listen("tcp", "0.0.0.0:0")
	check(t, err)
	defer wide.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	check(t, err)
	defer udp.Close()
	file := func(l interface{ File() (*os.File, error) }) *os.File {
		f, err := l.File()
		check(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	u, l := file(unix), file(tcp.(*net.TCPListener))
	if got := passing(t, "$$", u); got != path {
		t.Errorf("a unix socket: %q", got)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	a, err := client.Get("http://localhost/openapi.json")
	check(t, err)
	if a.Body.Close(); a.StatusCode != 200 {
		t.Errorf("its answer: %s", a.Status)
	}
	if got := passing(t, "$$", l); got != tcp.Addr().String() {
		t.Errorf("a port of loopback: %q", got)
	}
	for what, files := range map[string][]*os.File{"a port of every address": {file(wide.(*net.TCPListener))}, "UDP": {file(udp.(*net.UDPConn))}, "two sockets": {u, l}, "no socket": {}} {
		if got := passing(t, "$$", files...); !strings.HasPrefix(got, "usage ") {
			t.Errorf("%s: %q", what, got)
		}
	}
	if got := passing(t, "1", u); got != "none" {
		t.Errorf("for another process: %q", got)
	}
}
