package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network/address"
)

// newRelay serves on an address of the loopback, for another one of it, and returns its port.
func newRelay(t *testing.T, most int) uint16 {
	t.Helper()
	r := relay{at: netip.MustParseAddr("127.0.0.2"), from: netip.MustParseAddr("127.0.0.3"), open: make(chan struct{}, most), doors: &doors{}}
	l, err := r.listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go r.serve(l)
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// dialRelay connects to a relay from an address and says line.
func dialRelay(t *testing.T, relay uint16, from, line string) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", fmt.Sprintf("127.0.0.2:%d", relay))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	_, err = io.WriteString(conn, line) // the one call that says it, if the reset is there already
	return conn.(*net.TCPConn), err
}

// answered is how a connection to a relay ends without a word: a reset may come before it stands.
func answered(t *testing.T, relay uint16, from, line string) error {
	conn, err := dialRelay(t, relay, from, line)
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	return err
}

// upper answers each connection with all that it said, in capitals, once that has ended.
func upper(t *testing.T, at string) string {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				said, _ := io.ReadAll(conn)
				io.WriteString(conn, strings.ToUpper(string(said)))
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestRelay reaches servers on either loopback, with the end of each direction on its own.
func TestRelay(t *testing.T) {
	at := newRelay(t, 8)
	for _, loopback := range []string{"127.0.0.1:0", "[::1]:0"} {
		port := upper(t, loopback)
		for _, long := range []int{1, 1 << 20} {
			conn, err := dialRelay(t, at, "127.0.0.3", port+"\n")
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				io.WriteString(conn, strings.Repeat("x", long))
				conn.CloseWrite()
			}()
			if got, err := io.ReadAll(conn); err != nil || string(got) != strings.Repeat("X", long) {
				t.Errorf("%s, %d bytes: %d came back, %v", loopback, long, len(got), err)
			}
		}
	}
}

// TestRelayRefuses resets who is not the host, a port at which nobody listens, and a line that is no port.
func TestRelayRefuses(t *testing.T) {
	at, port := newRelay(t, 8), upper(t, "127.0.0.1:0")
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, closed, _ := net.SplitHostPort(nobody.Addr().String())
	nobody.Close()
	for name, test := range map[string]struct{ from, line string }{
		"another guest": {"127.0.0.4", port + "\n"}, "nobody listens": {"127.0.0.3", closed + "\n"}, "no port": {"127.0.0.3", "ssh\n"},
		"too large": {"127.0.0.3", "65536\n"}, "a long line": {"127.0.0.3", "0000000000000000080\n"}, "negative": {"127.0.0.3", "-1\n"},
	} {
		if err := answered(t, at, test.from, test.line); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRelayBound resets what is more than it serves at once.
func TestRelayBound(t *testing.T) {
	at, port := newRelay(t, 1), upper(t, "127.0.0.1:0")
	held, err := dialRelay(t, at, "127.0.0.3", port+"\n") // it is accepted first
	if err != nil {
		t.Fatal(err)
	}
	if err := answered(t, at, "127.0.0.3", port+"\n"); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the second: %v", err)
	}
	held.CloseWrite()
	if _, err := held.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the first: %v", err)
	}
}

// TestRelaySocket has a path lead to a unix socket.
func TestRelaySocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	conn, err := dialRelay(t, newRelay(t, 2), "127.0.0.3", path+"\nhello")
	if err == nil {
		err = conn.CloseWrite()
	}
	if got, readErr := io.ReadAll(conn); err != nil || readErr != nil || string(got) != "hello" {
		t.Errorf("%q, %v, %v", got, err, readErr)
	}
}

// TestDoors has who comes to a socket that the host wants be led to the host, as long as it does.
func TestDoors(t *testing.T) {
	relay, dir := newRelay(t, 8), t.TempDir()
	first, second, taken := filepath.Join(dir, "deep/first"), filepath.Join(dir, "second"), filepath.Join(dir, "taken")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	host, err := dialRelay(t, relay, "127.0.0.3", "sockets\n")
	if err != nil {
		t.Fatal(err)
	}
	says, hears := json.NewEncoder(host), json.NewDecoder(host)
	hear := func() (c address.RelayCome) {
		t.Helper()
		if err := hears.Decode(&c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	says.Encode([]string{first, taken})
	if c := hear(); c.Path != taken || c.Error == "" || c.Number != 0 {
		t.Errorf("a path that is taken: %+v", c)
	}
	come := func(path string) net.Conn {
		t.Helper()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		return c
	}
	c := come(first)
	heard := hear()
	if heard.Path != first || heard.Number == 0 {
		t.Fatalf("who came: %+v", heard)
	}
	line := fmt.Sprintf("accept %d\n", heard.Number)
	led, err := dialRelay(t, relay, "127.0.0.3", line+"of the host")
	if err != nil {
		t.Fatal(err)
	}
	led.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "of the host" {
		t.Errorf("the guest reads %q, %v", got, err)
	}
	if err := answered(t, relay, "127.0.0.3", line); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("one who has been taken: %v", err)
	}
	if info, err := os.Stat(first); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	says.Encode([]string{second})
	for { // until it is there
		if _, err := os.Lstat(second); err == nil {
			break
		}
	}
	if _, err := os.Lstat(first); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one that is wanted no more: %v", err)
	}
	come(second)
	if c := hear(); c.Path != second {
		t.Errorf("who came: %+v", c)
	}
	again, err := dialRelay(t, relay, "127.0.0.3", "sockets\n[\""+first+"\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := host.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the host of before: %v", err)
	}
	for {
		if _, err := os.Lstat(first); err == nil {
			break
		}
	}
	again.Close()
	for {
		if _, err := os.Lstat(first); errors.Is(err, os.ErrNotExist) {
			break
		}
	}
}
