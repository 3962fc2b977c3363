package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"noid/internal/agent"
	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/link"
	"noid/internal/link/wire"
	"noid/internal/vm"
)

// asNoid in the environment makes TestAsNoid be a noid that runs one command through the agent on a socket.
const asNoid = "NOID_TEST_AS_NOID"

type asNoidArgs struct {
	Socket  string
	Exec    wire.Exec
	Detach  bool
	Timeout time.Duration
}

// TestAsNoid is a noid of its own, with a terminal, signals and an exit code.
func TestAsNoid(t *testing.T) {
	if os.Getenv(asNoid) == "" {
		return
	}
	var args asNoidArgs
	if err := json.Unmarshal([]byte(os.Getenv(asNoid)), &args); err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) // as Main has it
	defer stop()
	a := &app{out: os.Stdout, err: os.Stderr, started: true}
	client := socketClient(args.Socket)
	c := vm.Command{Stdin: args.Exec.Stdin, TTY: args.Exec.TTY, Detach: args.Detach, Timeout: args.Timeout}
	err := a.attach(ctx, &c, func(ctx context.Context, s vm.Streams) (vm.Exit, error) { // as vm.Manager.Exec does it
		if err := s.Begin(); err != nil {
			return vm.Exit{}, err
		}
		e := args.Exec
		e.Size, e.Term = c.Size, c.Term
		if c.Detach {
			job, _, err := client.Start(ctx, e)
			return vm.Exit{Job: job.ID}, err
		}
		exit, err := client.Exec(ctx, e, link.Streams{In: s.In, Out: s.Out, Err: s.Err, Resize: s.Resize, Signals: s.Signals})
		if errors.Is(err, errs.ErrUsage) { // what the guest refuses is no wrong usage of noid
			err = fmt.Errorf("exec in vm %q: %v", "test", err)
		}
		return vm.Exit{Code: exit.Code, TimedOut: exit.TimedOut, Error: exit.Error, Lost: exit.Lost}, err
	})
	os.Exit(a.report(ctx, &cobra.Command{Use: "exec"}, err))
}

func socketClient(path string) *link.Client {
	return &link.Client{Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
}

// guest is an agent in this process, and noids that are its hosts.
type guest struct {
	t      *testing.T
	socket string
}

func newGuest(t *testing.T) guest {
	g := guest{t, filepath.Join(t.TempDir(), "s")}
	l, err := net.Listen("unix", g.socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &agent.Server{}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return g
}

// noid makes a noid that runs script in the guest.
func (g guest) noid(script string, args asNoidArgs) *exec.Cmd {
	args.Socket = g.socket
	args.Exec.Dir = "/"
	for _, s := range []string{"/bin/sh", "-c", script} {
		args.Exec.Argv = append(args.Exec.Argv, []byte(s))
	}
	data, err := json.Marshal(args)
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAsNoid$")
	cmd.Env = append(os.Environ(), asNoid+"="+string(data))
	g.t.Cleanup(func() {
		if cmd.Process != nil && cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	return cmd
}

func code(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	return -1000
}

// idle waits until no command runs in the guest.
func (g guest) idle() {
	g.t.Helper()
	c := socketClient(g.socket)
	var jobs []wire.Job
	for range 500 {
		running := 0
		var err error
		if jobs, err = c.Jobs(g.t.Context()); err != nil {
			g.t.Fatal(err)
		}
		for _, j := range jobs {
			if j.Exit == nil {
				running++
			}
		}
		if running == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	g.t.Errorf("still running: %+v", jobs)
}

func TestExecStreams(t *testing.T) {
	g := newGuest(t)
	for _, test := range []struct {
		name     string
		script   string
		args     asNoidArgs
		out, err string
		code     int
	}{
		{"streams apart", "echo out; echo err >&2; exit 3", asNoidArgs{}, "out\n", "err\n", 3},
		{"input is not read", "cat", asNoidArgs{}, "", "", 0},
		{"input", "cat", asNoidArgs{Exec: wire.Exec{Stdin: true}}, "the input", "", 0},
		{"signal", "kill -9 $$", asNoidArgs{}, "", "", 137},
		{"timeout", "sleep 1000", asNoidArgs{Exec: wire.Exec{TimeoutMs: 200}, Timeout: 200 * time.Millisecond}, "", "noid: the command timed out after 200ms", 124},
		{"no such user", "true", asNoidArgs{Exec: wire.Exec{User: "nobody-like-that"}}, "", "noid: exec in vm \"test\": ", 125},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := g.noid(test.script, test.args)
			in, err := os.CreateTemp(t.TempDir(), "in")
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if _, err := in.WriteString("the input"); err != nil {
				t.Fatal(err)
			}
			in.Seek(0, io.SeekStart)
			var out, errw bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errw
			if got := code(cmd.Run()); got != test.code {
				t.Errorf("exit code %d, want %d", got, test.code)
			}
			if d := cmp.Diff(test.out, out.String()); d != "" {
				t.Error(d)
			}
			if !strings.HasPrefix(errw.String(), test.err) || test.err == "" && errw.Len() > 0 {
				t.Errorf("stderr %q", errw.String())
			}
			if at, _ := in.Seek(0, io.SeekCurrent); (at > 0) != test.args.Exec.Stdin {
				t.Errorf("%d bytes of the input are read", at)
			}
		})
	}
	g.idle()
}

func TestExecDetached(t *testing.T) {
	g := newGuest(t)
	out, err := g.noid("sleep 1000", asNoidArgs{Detach: true}).Output()
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(string(out))
	if len(id) != shortID {
		t.Fatalf("id %q", id)
	}
	if err := socketClient(g.socket).Kill(t.Context(), id, 9); err != nil {
		t.Error(err)
	}
	g.idle()
}

// TestExecSignals sends signals to noid while its command runs.
func TestExecSignals(t *testing.T) {
	g := newGuest(t)
	const loop = "echo ready; while :; do sleep 0.05; done"
	for _, test := range []struct {
		name   string
		script string
		send   []os.Signal
		code   int
	}{
		{"passed on", "trap 'exit 7' TERM; " + loop, []os.Signal{syscall.SIGTERM}, 7},
		{"quit", "trap 'exit 8' QUIT; " + loop, []os.Signal{syscall.SIGQUIT}, 8},
		{"ends it", loop, []os.Signal{syscall.SIGINT}, 130},
		{"twice", "trap '' INT; " + loop, []os.Signal{syscall.SIGINT, syscall.SIGINT}, exitInterrupted},
		{"noid's death", loop, []os.Signal{syscall.SIGKILL}, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := g.noid(test.script, asNoidArgs{})
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			io.ReadFull(out, make([]byte, len("ready\n")))
			for i, sig := range test.send {
				if i > 0 {
					time.Sleep(200 * time.Millisecond) // or the kernel makes one of two
				}
				cmd.Process.Signal(sig)
			}
			if got := code(cmd.Wait()); got != test.code {
				t.Errorf("exit code %d, want %d", got, test.code)
			}
		})
	}
	g.idle()
}

// TestExecReaderLeaves closes the pipe that noid writes to.
func TestExecReaderLeaves(t *testing.T) {
	g := newGuest(t)
	cmd := g.noid("while :; do echo y; done", asNoidArgs{})
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(out, make([]byte, 2))
	out.Close()
	if got := code(cmd.Wait()); got != brokenPipe {
		t.Errorf("exit code %d", got)
	}
	g.idle()
}

// onTerminal starts a noid with -it on a terminal and returns the terminal's other side.
func onTerminal(t *testing.T, cmd *exec.Cmd) (master, slave *os.File) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	if err := pty.Setsize(master, &pty.Winsize{Rows: 30, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// screen is what came on a terminal and was not expected yet.
type screen struct {
	t    *testing.T
	r    io.Reader
	seen []byte
}

// expect reads until want.
func (s *screen) expect(want string) {
	s.t.Helper()
	buf := make([]byte, 1024)
	for !bytes.Contains(s.seen, []byte(want)) {
		n, err := s.r.Read(buf)
		if s.seen = append(s.seen, buf[:n]...); err != nil {
			s.t.Fatalf("%q did not come: %q, %v", want, s.seen, err)
		}
	}
	_, s.seen, _ = bytes.Cut(s.seen, []byte(want))
}

func mode(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}

var onTTY = asNoidArgs{Exec: wire.Exec{TTY: true, Stdin: true}}

func TestExecTerminal(t *testing.T) {
	g := newGuest(t)
	cmd := g.noid(`stty size; echo TERM=$TERM; read line; echo "got $line"; stty size; trap 'echo interrupted' INT; echo ready; read line || echo end; cat; exit 4`, onTTY)
	cmd.Env = append(cmd.Env, "TERM=vt100")
	master, slave := onTerminal(t, cmd)
	term := &screen{t: t, r: master}
	term.expect("30 100\r\n")
	term.expect("TERM=vt100\r\n")
	if mode(t, slave).Lflag&unix.ECHO != 0 {
		t.Error("the terminal is not raw while the command runs")
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 40, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Signal(syscall.SIGWINCH)
	time.Sleep(200 * time.Millisecond) // the new size has no answer to wait for
	io.WriteString(master, "a line\r")
	term.expect("got a line\r\n")
	term.expect("40 120\r\n")
	term.expect("ready\r\n")
	io.WriteString(master, "\x03")
	term.expect("interrupted\r\n")
	io.WriteString(master, "\r\x04")
	if got := code(cmd.Wait()); got != 4 {
		t.Errorf("exit code %d", got)
	}
	if mode(t, slave).Lflag&unix.ECHO == 0 {
		t.Error("the terminal is still raw")
	}
	g.idle()
}

// TestExecTerminalKilled ends a noid whose terminal is raw.
func TestExecTerminalKilled(t *testing.T) {
	g := newGuest(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run(fmt.Sprint(sig), func(t *testing.T) {
			cmd := g.noid("trap '' TERM; echo ready; read line", onTTY)
			master, slave := onTerminal(t, cmd)
			(&screen{t: t, r: master}).expect("ready\r\n")
			cmd.Process.Signal(sig)
			if got := code(cmd.Wait()); got != exitInterrupted {
				t.Errorf("exit code %d", got)
			}
			if mode(t, slave).Lflag&unix.ECHO == 0 {
				t.Error("the terminal is still raw")
			}
		})
	}
	g.idle()
}

func TestEnvironment(t *testing.T) {
	t.Setenv("NOID_TEST_SET", "of the host")
	got, err := environment([]string{"A=b=c", "NOID_TEST_SET", "NOID_TEST_UNSET", "E="})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"A=b=c", "NOID_TEST_SET=of the host", "E="}, got); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "=x", "A=\x00"} {
		if _, err := environment([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestSignalNumber(t *testing.T) {
	for word, want := range map[string]int{"TERM": 15, "SIGTERM": 15, "sigkill": 9, "hup": 1, "9": 9, "64": 64, "0": 0, "65": 0, "-1": 0, "TRM": 0, "": 0} {
		got, err := signalNumber(word)
		if got != want || (err == nil) != (want != 0) || err != nil && !errors.Is(err, errs.ErrUsage) {
			t.Errorf("%q: %d, %v", word, got, err)
		}
	}
}

func TestJobStates(t *testing.T) {
	for _, test := range []struct {
		job  wire.Job
		want string
	}{
		{wire.Job{Attached: true}, "running"},
		{wire.Job{Detached: true}, "running"},
		{wire.Job{}, "orphaned"},
		{wire.Job{Detached: true, Orphaned: true}, "orphaned"},
		{wire.Job{Detached: true, Orphaned: true, Exit: &wire.Exit{Code: 3}}, "exited 3"},
	} {
		if got := api.JobOf(test.job).State; got != test.want {
			t.Errorf("%+v: %s", test.job, got)
		}
	}
	if j := api.JobOf(wire.Job{Command: "\x1b[2Jrm\n-rf"}); strings.ContainsAny(j.Command, "\x1b\n") {
		t.Errorf("command %q", j.Command)
	}
}
