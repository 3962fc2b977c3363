package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"noid/internal/errs"
)

// screen is an Out that can be looked at while it is written.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(data)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *screen) waitFor(t *testing.T, text string) {
	t.Helper()
	for range 1000 {
		if strings.Contains(s.String(), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%q never came; there is %q", text, s.String())
}

func TestAttachPiped(t *testing.T) {
	b := startShell(t, shells["dash"]...)
	waitForLog(t, b.dir, "# ")
	for name, c := range map[string]struct{ in, want, message string }{
		"script":   {"echo $((40+2))\n", "42\r\n", ""},
		"detach":   {"echo $((40+3))\n\x11echo never\n", "", "detached, VM keeps running\n"},
		"no input": {"", "# ", ""},
		"long":     {strings.Repeat(": 0123456789012345678901234567890123456789\n", 500) + "echo $((40+4))\n", "44\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out, msg screen
			err := Attach(t.Context(), b.dir, AttachOptions{In: strings.NewReader(c.in), Out: &out, Err: &msg, Alive: b.alive})
			if err != nil || !strings.Contains(out.String(), c.want) || !strings.Contains(msg.String(), c.message) {
				t.Errorf("got %v, %.300q, %q", err, out.String(), msg.String())
			}
			if strings.Contains(out.String(), "never") {
				t.Error("what followed the detach key was typed")
			}
		})
	}
}

// attachTerminal runs Attach on one end of a pseudo-terminal and returns the other. It checks in the end that the
// terminal's mode is what it was.
func attachTerminal(t *testing.T, b *bridge, err chan<- error) (keys *os.File, msg *screen) {
	t.Helper()
	keys, tty, e := pty.Open()
	if e != nil {
		t.Fatal(e)
	}
	before, _ := term.GetState(int(tty.Fd()))
	t.Cleanup(func() {
		if after, _ := term.GetState(int(tty.Fd())); *after != *before {
			t.Error("the terminal's mode was not restored")
		}
		keys.Close()
		tty.Close()
	})
	msg = &screen{}
	raw := func() (func(), error) {
		old, err := term.MakeRaw(int(tty.Fd()))
		return func() { term.Restore(int(tty.Fd()), old) }, err
	}
	// As the command line has it.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	t.Cleanup(stop)
	go func() {
		err <- Attach(ctx, b.dir, AttachOptions{In: tty, Out: tty, Err: msg, Terminal: raw, Alive: b.alive})
	}()
	return keys, msg
}

func TestAttachTerminal(t *testing.T) {
	b := startShell(t, shells["ash"]...)
	waitForLog(t, b.dir, "# ")
	for name, end := range map[string]struct {
		do      func(keys *os.File)
		message string
		want    error
	}{
		"Ctrl+Q":  {func(keys *os.File) { keys.Write([]byte{DetachKey}) }, "\r\ndetached, VM keeps running\r\n", nil},
		"SIGTERM": {func(*os.File) { syscall.Kill(os.Getpid(), syscall.SIGTERM) }, "", context.Canceled},
		"SIGHUP":  {func(*os.File) { syscall.Kill(os.Getpid(), syscall.SIGHUP) }, "", context.Canceled},
		"SIGINT":  {func(*os.File) { syscall.Kill(os.Getpid(), syscall.SIGINT) }, "", context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			keys, msg := attachTerminal(t, b, ended)
			var out screen
			go io.Copy(&out, keys)
			out.waitFor(t, "# ") // the prompt that stood there before
			keys.Write([]byte("echo $((40+2))\r"))
			out.waitFor(t, "42\r\n")
			end.do(keys)
			if err := <-ended; !errors.Is(err, end.want) {
				t.Errorf("got %v, want %v", err, end.want)
			}
			if !strings.Contains(msg.String(), end.message) {
				t.Errorf("said %q", msg.String())
			}
		})
	}
}

func TestAttachWhenTheVMDies(t *testing.T) {
	b := startShell(t, shells["ash"]...)
	waitForLog(t, b.dir, "# ")
	ended := make(chan error, 1)
	keys, msg := attachTerminal(t, b, ended)
	var out screen
	go io.Copy(&out, keys)
	out.waitFor(t, "# ")
	b.kill()
	if err := <-ended; err != nil || !strings.Contains(msg.String(), "the VM is gone") {
		t.Errorf("got %v, said %q", err, msg.String())
	}
	err := Attach(t.Context(), b.dir, AttachOptions{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
	if !errors.Is(err, errs.ErrState) {
		t.Errorf("on a dead VM got %v", err)
	}
}

// A guest that reads nothing must not keep the user from leaving.
func TestAttachDeafGuest(t *testing.T) {
	dir := consoleDir(t)
	reader, err := os.OpenFile(dir+"/serial.in", os.O_RDWR, 0) // a VMM that never reads
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	b := &bridge{dir: dir}
	ended := make(chan error, 1)
	keys, _ := attachTerminal(t, b, ended)
	go io.Copy(io.Discard, keys)
	for range 200 {
		if _, err := keys.Write(bytes.Repeat([]byte("k"), 1024)); err != nil {
			t.Fatal(err)
		}
	}
	keys.Write([]byte{DetachKey})
	if err := <-ended; err != nil {
		t.Errorf("got %v", err)
	}
}

func TestLockInputKeepsTypistsOut(t *testing.T) {
	b := startShell(t, shells["ash"]...)
	b.run(t, ExecOptions{}, "true")
	unlock, err := LockInput(t.Context(), b.dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	before, _ := os.ReadFile(logPath(b.dir))
	if _, err := Exec(ctx, b.dir, []string{"true"}, ExecOptions{Alive: b.alive}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	// The shell may still be drawing its prompt: what counts is that no line of Exec's is echoed.
	if after, _ := os.ReadFile(logPath(b.dir)); bytes.Contains(after[len(before):], []byte("echo")) {
		t.Errorf("something was typed: %q", after[len(before):])
	}
	unlock()
	if out, _ := b.run(t, ExecOptions{}, "echo", "ok"); out != "ok\n" {
		t.Errorf("afterwards got %q", out)
	}
}
