package link

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noid/internal/agent"
	"noid/internal/errs"
	"noid/internal/link/wire"
)

// guest runs the real agent in this process and returns a client of it. cut, if not nil, says for each connection in
// turn after how many bytes it breaks.
func guest(t *testing.T, cut func() int) *Client {
	t.Helper()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR1) // the agent does, and one goroutine stays of it for ever
	before := runtime.NumGoroutine()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &agent.Server{Release: "test"}
	served := make(chan error, 1)
	go func() { served <- s.Serve(&breaking{Listener: l, cut: cut}) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		eventually(t, func() error {
			if n := runtime.NumGoroutine(); n > before {
				buf := make([]byte, 64<<10)
				return fmt.Errorf("%d goroutines, before %d:\n%s", n, before, buf[:runtime.Stack(buf, true)])
			}
			return nil
		})
	})
	return &Client{Release: "test", Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
}

// eventually fails t when check still fails after a time in which it should long have succeeded.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	var err error
	for range 500 {
		if err = check(); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error(err)
}

// breaking is a listener whose connections break, as a snapshot breaks them: the agent sees a reset, the host an end.
type breaking struct {
	net.Listener
	cut func() int
}

func (b *breaking) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	if err != nil || b.cut == nil {
		return c, err
	}
	return &cutConn{Conn: c, left: b.cut()}, nil
}

// cutConn breaks after so many bytes of both directions together, wherever in a frame that is.
type cutConn struct {
	net.Conn
	mu   sync.Mutex
	left int
	gone bool
}

func (c *cutConn) take(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, c.left)
	c.left -= n
	return n
}

func (c *cutConn) reset() error {
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	c.Conn.Close()
	return syscall.ECONNRESET
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if k := c.take(n); k < n { // the rest is lost on the way
		if k == 0 {
			return 0, c.reset()
		}
		c.reset()
		return k, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.gone {
		err = syscall.ECONNRESET
	}
	return n, err
}

func (c *cutConn) Write(b []byte) (int, error) {
	if k := c.take(len(b)); k < len(b) {
		c.Conn.Write(b[:k])
		return k, c.reset()
	}
	return c.Conn.Write(b)
}

func argv(words ...string) [][]byte {
	var out [][]byte
	for _, w := range words {
		out = append(out, []byte(w))
	}
	return out
}

func sh(script string) wire.Exec { return wire.Exec{Argv: argv("/bin/sh", "-c", script), Dir: "/"} }

func TestExec(t *testing.T) {
	c := guest(t, nil)
	for _, test := range []struct {
		name     string
		e        wire.Exec
		in       io.Reader
		out, err string
		code     int
		signal   int
	}{
		{"nothing", sh("exit 0"), nil, "", "", 0, 0},
		{"both streams", sh("echo out; echo err >&2; exit 3"), nil, "out\n", "err\n", 3, 0},
		{"signal", sh("kill -KILL $$"), nil, "", "", 137, 9},
		{"no such command", wire.Exec{Argv: argv("/no/such/command")}, nil, "", "", 127, 0},
		{"no executable", wire.Exec{Argv: argv("/dev/null")}, nil, "", "", 126, 0},
		{"environment", wire.Exec{Argv: argv("/bin/sh", "-c", "echo $A"), Env: argv("A=\xff b")}, nil, "\xff b\n", "", 0, 0},
		{"input not asked for", sh("cat"), strings.NewReader("secret"), "", "", 0, 0},
		{"input", wire.Exec{Argv: argv("cat"), Stdin: true}, strings.NewReader("a\x00b"), "a\x00b", "", 0, 0},
		{"no input", wire.Exec{Argv: argv("cat"), Stdin: true}, nil, "", "", 0, 0},
		{"input that never ends", wire.Exec{Argv: argv("true"), Stdin: true}, endless{}, "", "", 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, errw bytes.Buffer
			exit, err := c.Exec(t.Context(), test.e, Streams{In: test.in, Out: &out, Err: &errw})
			if err != nil {
				t.Fatal(err)
			}
			if exit.Code != test.code || exit.Signal != test.signal {
				t.Errorf("exit %+v", exit)
			}
			if d := cmp.Diff([]string{test.out, test.err}, []string{out.String(), errw.String()}); d != "" {
				t.Error(d)
			}
		})
	}
}

// endless is input without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestSilentInput has a command end while its input is open and silent.
func TestSilentInput(t *testing.T) {
	c := guest(t, nil)
	r, w := io.Pipe()
	e := sh("exit 5")
	e.Stdin = true
	exit, err := c.Exec(t.Context(), e, Streams{In: r})
	if err != nil || exit.Code != 5 {
		t.Errorf("%+v, %v", exit, err)
	}
	w.Close() // lets the one Read go that Exec left
}

// TestCutSmall breaks the first connection after each possible number of bytes.
func TestCutSmall(t *testing.T) {
	var n, conn atomic.Int64
	c := guest(t, func() int {
		if conn.Add(1) == 1 {
			return int(n.Load())
		}
		return 1 << 30
	})
	const text = "every byte once"
	for whole := false; !whole; n.Add(1) {
		conn.Store(0)
		var out, errw bytes.Buffer
		e := sh("cat; echo end >&2; exit 9")
		e.Stdin = true
		exit, err := c.Exec(t.Context(), e, Streams{In: strings.NewReader(text), Out: &out, Err: &errw})
		if err != nil || exit.Code != 9 || out.String() != text || errw.String() != "end\n" {
			t.Fatalf("cut after %d bytes: %+v, %v, %q, %q", n.Load(), exit, err, out.String(), errw.String())
		}
		whole = conn.Load() == 1
	}
	if n.Load() < 200 {
		t.Errorf("only %d bytes on the connection", n.Load())
	}
}

// TestCutLarge sends 64 MB through cat over connections that break at random.
func TestCutLarge(t *testing.T) {
	size, conns := 64<<20, new(atomic.Int64)
	if testing.Short() {
		size = 4 << 20
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	c := guest(t, func() int { conns.Add(1); return r.IntN(4 << 20) })
	in, out := sha256.New(), sha256.New()
	var count counter
	source := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{byte(seed)}), int64(size)), in)
	exit, err := c.Exec(t.Context(), wire.Exec{Argv: argv("cat"), Stdin: true}, Streams{In: source, Out: io.MultiWriter(out, &count)})
	if err != nil || exit.Code != 0 || exit.Lost != 0 {
		t.Fatalf("%+v, %v", exit, err)
	}
	if int(count.n.Load()) != size || !bytes.Equal(in.Sum(nil), out.Sum(nil)) {
		t.Errorf("%d of %d bytes came back, equal: %v", count.n.Load(), size, bytes.Equal(in.Sum(nil), out.Sum(nil)))
	}
	if conns.Load() < int64(size>>22) {
		t.Errorf("only %d connections: nothing was cut", conns.Load())
	}
}

type counter struct{ n atomic.Int64 }

func (c *counter) Write(b []byte) (int, error) { c.n.Add(int64(len(b))); return len(b), nil }

// TestSlowReader holds the output up: the command stops, standard error goes on, and nothing is lost.
func TestSlowReader(t *testing.T) {
	c := guest(t, nil)
	gate := make(chan struct{})
	out := &gated{gate: gate}
	started := make(chan struct{})
	done := make(chan error, 1)
	const size = 8 << 20
	file := filepath.Join(t.TempDir(), "written")
	go func() {
		_, err := c.Exec(t.Context(), sh(fmt.Sprintf("echo early >&2; head -c %d /dev/zero; : > %s", size, file)),
			Streams{Out: out, Err: writerFunc(func(b []byte) (int, error) { close(started); return len(b), nil })})
		done <- err
	}()
	<-started
	select {
	case err := <-done:
		t.Fatalf("Exec returned: %v", err)
	case <-time.After(300 * time.Millisecond): // time for a command that is not held up
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the command wrote all its output though nobody took it")
	}
	close(gate)
	if err := <-done; err != nil || out.n.Load() != size {
		t.Errorf("%d of %d bytes, %v", out.n.Load(), size, err)
	}
}

type gated struct {
	counter
	gate <-chan struct{}
}

func (g *gated) Write(b []byte) (int, error) { <-g.gate; return g.counter.Write(b) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestSignals passes a signal on.
func TestSignals(t *testing.T) {
	c := guest(t, nil)
	signals := make(chan int, 1)
	ready := writerFunc(func(b []byte) (int, error) { signals <- int(syscall.SIGTERM); return len(b), nil })
	exit, err := c.Exec(t.Context(), sh("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"), Streams{Out: ready, Signals: signals})
	if err != nil || exit.Code != 7 {
		t.Errorf("%+v, %v", exit, err)
	}
}

// TestLeave cancels, with output that nobody takes: Exec returns and the command is hung up.
func TestLeave(t *testing.T) {
	c := guest(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	mine := errors.New("mine")
	gate := make(chan struct{})
	defer close(gate)
	blocked := writerFunc(func(b []byte) (int, error) { cancel(mine); <-gate; return len(b), nil })
	if _, err := c.Exec(ctx, sh("while :; do echo; done"), Streams{Out: blocked}); !errors.Is(err, mine) {
		t.Errorf("Exec: %v", err)
	}
	eventually(t, func() error {
		jobs, err := c.Jobs(t.Context())
		for _, j := range jobs {
			if j.Exit == nil {
				return fmt.Errorf("job %s still runs", j.ID)
			}
		}
		return err
	})
}

func TestWriterFails(t *testing.T) {
	c := guest(t, nil)
	broken := writerFunc(func([]byte) (int, error) { return 0, syscall.EPIPE })
	if _, err := c.Exec(t.Context(), sh("while :; do echo; done"), Streams{Out: broken}); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Exec: %v", err)
	}
}

// TestDies has the VMM die under a command: what it wrote arrives, and Exec does not wait for more.
func TestDies(t *testing.T) {
	var dead atomic.Bool
	c := guest(t, func() int { return 1 << 30 })
	c.Alive = func() bool { return !dead.Load() }
	var out bytes.Buffer
	w := writerFunc(func(b []byte) (int, error) { dead.Store(true); return out.Write(b) })
	if _, err := c.Exec(t.Context(), sh("echo last; sleep 1000"), Streams{Out: w}); !errors.Is(err, errs.ErrState) {
		t.Errorf("Exec: %v", err)
	}
	if out.String() != "last\n" {
		t.Errorf("output %q", out.String())
	}
}

func TestDetached(t *testing.T) {
	c := guest(t, nil)
	if job, unfit, err := c.Start(t.Context(), wire.Exec{Argv: argv("/nosuch")}); err != nil || job.ID != "" || unfit == nil || unfit.Code != 127 {
		t.Errorf("what cannot run: %+v, %+v, %v", job, unfit, err)
	}
	job, unfit, err := c.Start(t.Context(), sh("sleep 1000"))
	id := job.ID
	if err != nil || unfit != nil {
		t.Fatal(unfit, err)
	}
	jobs, err := c.Jobs(t.Context())
	if err != nil || len(jobs) != 1 || jobs[0].ID != id || jobs[0].Exit != nil || !jobs[0].Detached || jobs[0].Attached {
		t.Fatalf("%+v, %v", jobs, err)
	}
	if err := c.Kill(t.Context(), "ffff", 15); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("Kill of none: %v", err)
	}
	if err := c.Kill(t.Context(), id[:8], 9); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		jobs, err := c.Jobs(t.Context())
		if err != nil || len(jobs) != 1 || jobs[0].Exit == nil || jobs[0].Exit.Code != 137 {
			return fmt.Errorf("%+v, %v", jobs, err)
		}
		return nil
	})
}

// TestLine counts the connections of a freeze, a thaw and what is asked next.
func TestLine(t *testing.T) {
	c := guest(t, nil)
	dial, dials := c.Dial, 0
	c.Dial = func(ctx context.Context) (net.Conn, error) {
		dials++
		return dial(ctx)
	}
	if _, err := c.SyncAndFreeze(t.Context(), true); err != nil {
		t.Error(err)
	}
	line, err := c.Thaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Line = line
	var out strings.Builder
	exit, err := c.Exec(t.Context(), wire.Exec{Argv: [][]byte{[]byte("echo"), []byte("on it")}}, Streams{Out: &out})
	if err != nil || exit.Code != 0 || out.String() != "on it\n" || dials != 2 {
		t.Errorf("%+v, %v, %q, after %d connections", exit, err, &out, dials)
	}
	if err := c.Ping(t.Context()); err != nil || dials != 3 {
		t.Errorf("%v, after %d connections", err, dials)
	}
	if c.Line, err = c.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Line.Close()
	if err := c.Ping(t.Context()); err != nil || dials != 5 {
		t.Errorf("%v, after %d connections, one given back", err, dials)
	}
	if c.Line, err = c.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Line.link.Load().Conn.Close() // it broke
	exit, err = c.Exec(t.Context(), wire.Exec{Argv: [][]byte{[]byte("true")}}, Streams{})
	if err != nil || exit.Code != 0 || dials != 7 {
		t.Errorf("%+v, %v, after %d connections, one broken", exit, err, dials)
	}
}

func TestCalls(t *testing.T) {
	c := guest(t, nil)
	line, thaw := c.Thaw(t.Context())
	line.Close()
	if err := errors.Join(c.Wait(t.Context()), c.Ping(t.Context()), c.Freeze(t.Context(), true), thaw); err != nil {
		t.Error(err)
	}
	info, err := c.Info(t.Context())
	if err != nil || info.Release != "test" || info.Kernel == "" || info.MemTotal == 0 {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := c.Exec(t.Context(), wire.Exec{Argv: argv("true"), User: "no such user"}, Streams{}); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("no such user: %v", err)
	}
	if _, err := c.Exec(t.Context(), wire.Exec{Argv: [][]byte{make([]byte, wire.MaxMessage)}}, Streams{}); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("too long: %v", err)
	}
}

// TestMany runs commands side by side over one client.
func TestMany(t *testing.T) {
	c := guest(t, nil)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			var out bytes.Buffer
			exit, err := c.Exec(t.Context(), sh(fmt.Sprintf("echo %d; exit %d", i, i)), Streams{Out: &out})
			if err != nil || exit.Code != i || out.String() != fmt.Sprintln(i) {
				t.Errorf("%d: %+v, %v, %q", i, exit, err, out.String())
			}
		})
	}
	wg.Wait()
}

// deaf is a connection that brings nothing more once an exec was asked for.
type deaf struct {
	net.Conn
	asked atomic.Bool
}

func (d *deaf) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(wire.OpExec)) {
		d.asked.Store(true)
	}
	return d.Conn.Write(b)
}

func (d *deaf) Read(b []byte) (int, error) {
	for {
		n, err := d.Conn.Read(b)
		if err != nil || !d.asked.Load() {
			return n, err
		}
	}
}

// TestLateReply has the agent's first answer lost: the command that it has started runs on for the second asking.
func TestLateReply(t *testing.T) {
	c := guest(t, nil)
	dial, first := c.Dial, true
	c.Dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if first && err == nil {
			first = false
			return &deaf{Conn: conn}, nil
		}
		return conn, err
	}
	var out bytes.Buffer
	exit, err := c.Exec(t.Context(), sh("sleep 4; echo done; exit 3"), Streams{Out: &out})
	if err != nil || exit.Code != 3 || out.String() != "done\n" {
		t.Errorf("%+v, %v, %q", exit, err, out.String())
	}
}

// TestSilence has an agent that dies when it was asked for a command: Exec does not wait for it for ever, and says that
// the command may have begun.
func TestSilence(t *testing.T) {
	t.Parallel()
	c := guest(t, nil)
	dial, first := c.Dial, true
	c.Patience = time.Second
	c.Dial = func(ctx context.Context) (net.Conn, error) {
		if !first {
			host, guest := net.Pipe()
			t.Cleanup(func() { guest.Close() })
			go guest.Read(make([]byte, 1<<10))
			return host, nil
		}
		first = false
		conn, err := dial(ctx)
		return &deaf{Conn: conn}, err
	}
	_, err := c.Exec(limited(t, 2*time.Minute), sh("true"), Streams{})
	if !errors.Is(err, errs.ErrTimeout) || errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "may have begun") {
		t.Errorf("Exec: %v", err)
	}
}

// TestInput gives a job that nobody sends input to all that it wants, waits with what it does not read, and loses nothing
// of what it writes before somebody attaches.
func TestInput(t *testing.T) {
	c := guest(t, nil)
	e := sh("head -c 3000000 /dev/zero; read size; echo $size; cat; stty size 2>/dev/null; echo end")
	e.Stdin, e.Await = true, true
	job, unfit, err := c.Start(t.Context(), e)
	if err != nil || unfit != nil || job.PID <= 0 {
		t.Fatal(job, unfit, err)
	}
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		exit, err := c.Attach(t.Context(), job.ID, Streams{Out: &out})
		if err == nil && (exit.Code != 0 || exit.Lost != 0) {
			err = fmt.Errorf("%+v", exit)
		}
		ended <- err
	}()
	large := bytes.Repeat([]byte("x"), 3*wire.Window)
	for _, in := range []wire.Input{{Data: []byte("12\n")}, {Data: large}, {}, {EOF: true}} {
		if err := c.Input(t.Context(), job.ID, in); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Input(t.Context(), job.ID, wire.Input{Data: []byte("late")}); !errors.Is(err, errs.ErrUsage) && !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("after its end: %v", err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if want := string(make([]byte, 3000000)) + "12\n" + string(large) + "end\n"; out.String() != want {
		t.Errorf("%d bytes of output, not %d", out.Len(), len(want))
	}
	if err := c.Input(t.Context(), "0123456789abcdef", wire.Input{EOF: true}); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("no such job: %v", err)
	}
	if job, _, err = c.Start(t.Context(), sh("sleep 1000")); err != nil {
		t.Fatal(err)
	}
	if err := c.Input(t.Context(), job.ID, wire.Input{Data: []byte("x")}); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("of a job without input: %v", err)
	}
}
