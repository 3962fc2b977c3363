package sshd

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// limit is how long a test waits for what must come.
const limit = 30 * time.Second

// connected is a connection to a server. It is a socket, which has a buffer.
func connected(t *testing.T) (here, there net.Conn, ended <-chan error) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if here, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if there, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() {
		end <- serve(there)
		there.Close()
	}()
	t.Cleanup(func() { here.Close() })
	return here, there, end
}

// logIn is a client of a server that runs as the user of this test.
func logIn(t *testing.T, name string) (*ssh.Client, <-chan error) {
	t.Helper()
	here, _, ended := connected(t)
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	if _, err := here.Write(seed); err != nil {
		t.Fatal(err)
	}
	key, _ := ssh.NewPublicKey(ed25519.NewKeyFromSeed(seed).Public())
	c, channels, requests, err := ssh.NewClientConn(here, "noid", &ssh.ClientConfig{User: name, HostKeyCallback: ssh.FixedHostKey(key), Timeout: limit})
	if err != nil {
		t.Fatal(err)
	}
	return ssh.NewClient(c, channels, requests), ended
}

func self(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if groups, _ := u.GroupIds(); os.Geteuid() != 0 && len(groups) > 1 {
		t.Skip("NOT RUN: only root can take the groups of a user, and this one has several")
	}
	dir, _ := os.Getwd()
	t.Cleanup(func() { os.Chdir(dir) }) // the server goes to the user's own
	return u.Username
}

func open(t *testing.T, c *ssh.Client) *ssh.Session {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestCommands(t *testing.T) {
	c, ended := logIn(t, self(t))
	for _, test := range []struct {
		command, in, out, err string
		code                  int
		signal                string
	}{
		{command: "cat; echo wrong >&2; exit 7", in: "typed", out: "typed", err: "wrong\n", code: 7},
		{command: "kill -TERM $$", signal: "TERM"},
		{command: "no-such-program 2>/dev/null", code: codeNotFound},
		{command: `printf '%s' "$SSH_CONNECTION"`, out: "UNKNOWN 65535 UNKNOWN 65535"},
	} {
		s := open(t, c)
		var out, errs bytes.Buffer
		s.Stdin, s.Stdout, s.Stderr = strings.NewReader(test.in), &out, &errs
		err := s.Run(test.command)
		code, signal := 0, ""
		if exit := (*ssh.ExitError)(nil); errors.As(err, &exit) {
			code, signal = exit.ExitStatus(), exit.Signal()
			if signal != "" {
				code = 0 // the client makes one of the signal
			}
		} else if err != nil {
			t.Errorf("%s: %v", test.command, err)
		}
		if out.String() != test.out || errs.String() != test.err || code != test.code || signal != test.signal {
			t.Errorf("%s: %q %q %d %q", test.command, &out, &errs, code, signal)
		}
	}
	s := open(t, c)
	if err := s.Run("exit 0"); err != nil {
		t.Error(err)
	}
	if err := open(t, c).RequestSubsystem("netconf"); err == nil {
		t.Error("a subsystem that is not there was started")
	}
	c.Close()
	end(t, ended)
}

// TestOnce: a channel runs one command, and none after it.
func TestOnce(t *testing.T) {
	c, _ := logIn(t, self(t))
	s := open(t, c)
	if err := s.Start("sleep 60"); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"true"})); ok || err != nil {
		t.Error("a second command on a channel:", ok, err)
	}
	if ok, err := s.SendRequest("pty-req", true, []byte("short")); ok || err != nil {
		t.Error("a terminal asked for by half a message:", ok, err)
	}
	if err := s.Signal(ssh.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exit := (*ssh.ExitError)(nil)
	if err := s.Wait(); !errors.As(err, &exit) || exit.Signal() != "KILL" {
		t.Error(err)
	}
}

// TestHangUp: a command ends with its client.
func TestHangUp(t *testing.T) {
	c, ended := logIn(t, self(t))
	s := open(t, c)
	file := filepath.Join(t.TempDir(), "hung-up")
	out, _ := s.StdoutPipe()
	if err := s.Start("trap 'echo yes >" + file + "; exit' HUP; echo ready; while :; do sleep 0.05; done"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	c.Close()
	end(t, ended)
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if text, _ := os.ReadFile(file); string(text) == "yes\n" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the command was not hung up")
		}
	}
}

func TestTerminal(t *testing.T) {
	c, _ := logIn(t, self(t))
	s := open(t, c)
	if err := s.RequestPty("xterm", 33, 77, ssh.TerminalModes{ssh.ECHO: 0}); err != nil {
		t.Fatal(err)
	}
	out, err := s.Output("stty size; stty -a | grep -o -- '-echo '; printf %s $TERM")
	if err != nil || string(out) != "33 77\r\n-echo \r\nxterm" {
		t.Errorf("%q %v", out, err)
	}
}

func TestSFTP(t *testing.T) {
	c, _ := logIn(t, self(t))
	client, err := sftp.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	file := filepath.Join(t.TempDir(), "file")
	f, err := client.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("text")); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if text, err := os.ReadFile(file); string(text) != "text" {
		t.Errorf("%q %v", text, err)
	}
}

// TestForwards: ssh -L, -R and what ends them.
func TestForwards(t *testing.T) {
	c, ended := logIn(t, self(t))
	echo := func(l net.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}
	tries := func(what string, conn net.Conn, err error) {
		t.Helper()
		if err != nil {
			t.Error(what, err)
			return
		}
		defer conn.Close()
		conn.Write([]byte("over"))
		conn.(stream).CloseWrite()
		if got, err := io.ReadAll(conn); string(got) != "over" {
			t.Errorf("%s: %q %v", what, got, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go echo(l)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	conn, err := c.Dial("tcp", "localhost:"+port)
	tries("-L", conn, err)
	path := filepath.Join(t.TempDir(), "u")
	u, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	go echo(u)
	conn, err = c.Dial("unix", path)
	tries("-L of a socket", conn, err)
	if _, err := c.Dial("unix", path+"-not-there"); err == nil {
		t.Error("a socket that is not there was connected")
	}

	there, err := c.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go echo(there)
	conn, err = net.Dial("tcp", there.Addr().String())
	tries("-R", conn, err)
	if _, err := c.Listen("tcp", there.Addr().String()); err == nil {
		t.Error("a port was taken twice")
	}
	if err := there.Close(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", there.Addr().String()); err == nil {
		t.Error("a cancelled port still listens")
	}
	last, err := c.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	end(t, ended)
	if _, err := net.Dial("tcp", last.Addr().String()); err == nil {
		t.Error("a port listens after its client has gone")
	}
}

// TestStranger: a user that the guest does not know is told, on each channel, and nothing is run.
func TestStranger(t *testing.T) {
	self(t)
	c, _ := logIn(t, "nobody-of-that-name")
	if _, err := c.NewSession(); err == nil || !strings.Contains(err.Error(), "nobody-of-that-name") {
		t.Error(err)
	}
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("a user that is not there has a port")
	}
}

// TestBroken: a connection that ends too early, or that speaks something else, ends the server.
func TestBroken(t *testing.T) {
	for _, text := range []string{"", "too short for a seed", strings.Repeat("s", ed25519.SeedSize), strings.Repeat("s", ed25519.SeedSize) + "GET / HTTP/1.1\r\n\r\n" + strings.Repeat("x", 1<<16)} {
		here, _, ended := connected(t)
		go io.Copy(io.Discard, here)
		io.WriteString(here, text)
		here.(stream).CloseWrite()
		end(t, ended)
	}
}

func end(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(limit):
		t.Fatal("the server has not ended")
	}
}
