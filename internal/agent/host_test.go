package agent

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"noid/internal/link/tarfs"
	"noid/internal/link/wire"
)

// deadline is when a test gives up waiting for what must come.
const deadline = 60 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "tar-create" { // a tool job runs this binary
		os.Exit(tarfs.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	heedHangup()
	closeOnExec() // as the agent does: the test may have been started with anything
	if socket := os.Getenv("NOID_TEST_INIT"); socket != "" {
		testInit(socket)
	}
	os.Exit(m.Run())
}

// heedHangup undoes nohup, as the agent does: a command would inherit it, and be deaf to what the tests send.
func heedHangup() {
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
}

// newServer returns a running server and where it listens.
func newServer(t testing.TB) (*Server, string) {
	s := &Server{Release: "test", PowerOff: func(bool) {}}
	s.init()
	path := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		s.Close()
	})
	return s, path
}

// host is a test's end of a connection.
type host struct {
	net.Conn
	r *wire.Reader
}

func dial(t testing.TB, path string) *host {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{c, wire.NewReader(bufio.NewReader(c))}
	h.SetDeadline(time.Now().Add(deadline))
	t.Cleanup(func() { c.Close() })
	must(t, send(h, wire.TypeHello, wire.Hello{Version: wire.Version, Min: wire.MinVersion}))
	f, err := h.r.Read()
	must(t, err)
	var hello wire.Hello
	must(t, f.Decode(&hello))
	if hello.Version != wire.Version {
		t.Fatalf("agent's hello: %+v", hello)
	}
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *host) request(req wire.Request) (rep wire.Reply, err error) {
	if err := send(h, wire.TypeRequest, req); err != nil {
		return rep, err
	}
	f, err := h.r.Read()
	if err != nil {
		return rep, err
	}
	if f.Type != wire.TypeReply {
		return rep, fmt.Errorf("frame of type %d for a reply", f.Type)
	}
	return rep, f.Decode(&rep)
}

func ask(t testing.TB, path string, req wire.Request) wire.Reply {
	t.Helper()
	h := dial(t, path)
	defer h.Close()
	rep, err := h.request(req)
	must(t, err)
	return rep
}

func newID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func args(list ...string) (out [][]byte) {
	for _, a := range list {
		out = append(out, []byte(a))
	}
	return out
}

func sh(script string) wire.Exec {
	return wire.Exec{Job: newID(), Argv: args("sh", "-c", script)}
}

// run is what a host knows of a job. It survives connections, as agentclient does.
type run struct {
	exec     wire.Exec
	out, err bytes.Buffer
	input    []byte
	acked    uint64 // of input
	eof      [2]bool
	exit     wire.Exit
	quiet    bool // do not acknowledge output
}

var errCut = errors.New("cut")

// over talks to the job on one connection until its Exit, or until cut bytes were read, if that is not 0.
func (r *run) over(h *host, attach bool, cut int) error {
	e := r.exec
	e.Attach, e.Stdout, e.Stderr = attach, uint64(r.out.Len()), uint64(r.err.Len())
	rep, err := h.request(wire.Request{Op: wire.OpExec, Exec: &e})
	if err != nil {
		return err
	}
	if rep.Error != "" {
		return fmt.Errorf("%s: %s", rep.Kind, rep.Error)
	}
	var mu sync.Mutex
	granted := sync.NewCond(&mu)
	over := false
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() {
		mu.Lock()
		over = true
		mu.Unlock()
		granted.Broadcast()
		h.Close()
	}()
	var writes sync.Mutex
	write := func(b []byte) {
		writes.Lock()
		defer writes.Unlock()
		h.Write(b)
	}
	if e.Stdin {
		acked := &r.acked
		*acked = min(*acked, rep.Stdin)
		wg.Go(func() {
			at := rep.Stdin
			for at < uint64(len(r.input)) {
				mu.Lock()
				for !over && at-*acked >= wire.Window {
					granted.Wait()
				}
				n := min(uint64(len(r.input))-at, wire.Window-(at-*acked), wire.MaxData)
				stop := over
				mu.Unlock()
				if stop {
					return
				}
				write(wire.AppendStream(nil, wire.TypeData, wire.Stdin, at, r.input[at:at+n]))
				at += n
			}
			write(wire.AppendStream(nil, wire.TypeEOF, wire.Stdin, at, nil))
		})
	}
	got := 0
	for {
		f, err := h.r.Read()
		if err != nil {
			return err
		}
		if got += len(f.Payload) + 5; cut > 0 && got > cut {
			return errCut // what was read is thrown away, as a break would
		}
		switch f.Type {
		case wire.TypeData, wire.TypeEOF, wire.TypeAck:
			s, offset, content, err := f.Stream()
			if err != nil {
				return err
			}
			if f.Type == wire.TypeAck {
				mu.Lock()
				r.acked = offset
				mu.Unlock()
				granted.Broadcast()
				continue
			}
			to := &r.out
			if s == wire.Stderr {
				to = &r.err
			}
			if uint64(to.Len()) != offset {
				return fmt.Errorf("stream %d goes on at %d, not at %d", s, offset, to.Len())
			}
			to.Write(content)
			if f.Type == wire.TypeEOF {
				r.eof[s-1] = true
			} else if !r.quiet {
				write(wire.AppendStream(nil, wire.TypeAck, s, uint64(to.Len()), nil))
			}
		case wire.TypeExit:
			if !r.eof[0] || !r.eof[1] && !e.TTY {
				return errors.New("exit before the end of a stream")
			}
			write(wire.AppendDone(nil))
			return f.Decode(&r.exit)
		default:
			return fmt.Errorf("frame of type %d", f.Type)
		}
	}
}

// do runs e to its end over one connection.
func do(t testing.TB, path string, e wire.Exec, input []byte) *run {
	t.Helper()
	if e.Job == "" {
		e.Job = newID()
	}
	r := &run{exec: e, input: input}
	if err := r.over(dial(t, path), false, 0); err != nil {
		t.Fatalf("%s: %v", e.Argv, err)
	}
	return r
}

// begin starts e and returns the connection, with the streams that follow.
func begin(t testing.TB, path string, e wire.Exec) *host {
	t.Helper()
	h := dial(t, path)
	rep, err := h.request(wire.Request{Op: wire.OpExec, Exec: &e})
	must(t, err)
	if rep.Error != "" {
		t.Fatalf("%s: %s", e.Argv, rep.Error)
	}
	return h
}

// expect reads output until it has want in it.
func (h *host) expect(t testing.TB, want string) {
	t.Helper()
	var all []byte
	for !bytes.Contains(all, []byte(want)) {
		f, err := h.r.Read()
		if err != nil {
			t.Fatalf("waiting for %q: %v; got %q", want, err, all)
		}
		if f.Type == wire.TypeData {
			s, offset, content, _ := f.Stream()
			all = append(all, content...)
			h.Write(wire.AppendStream(nil, wire.TypeAck, s, offset+uint64(len(content)), nil))
		}
	}
}

// waitExit reads on until the Exit.
func (h *host) waitExit(t testing.TB) (exit wire.Exit) {
	t.Helper()
	for {
		f, err := h.r.Read()
		if err != nil {
			t.Fatalf("waiting for the exit: %v", err)
		}
		if f.Type == wire.TypeExit {
			must(t, f.Decode(&exit))
			return exit
		}
	}
}

// eventually waits for cond.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// pair returns both ends of a connection without a server.
func pair(t testing.TB) (*host, net.Conn) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must(t, err)
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	must(t, err)
	d, err := l.Accept()
	must(t, err)
	t.Cleanup(func() { c.Close(); d.Close() })
	c.SetDeadline(time.Now().Add(deadline))
	return &host{c, wire.NewReader(bufio.NewReader(c))}, d
}
