package agent

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
	"noid/internal/link/wire"
)

func TestCommands(t *testing.T) {
	_, path := newServer(t)
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	must(t, os.WriteFile(plain, []byte("echo\n"), 0o644))
	text := filepath.Join(dir, "text")
	must(t, os.WriteFile(text, []byte{1, 2, 3, 4, 5, 6, 7, 8}, 0o755))
	orphan := filepath.Join(dir, "orphan")
	must(t, os.WriteFile(orphan, []byte("#!/no/such/interpreter\n"), 0o755))

	for _, c := range []struct {
		name     string
		e        wire.Exec
		in       string
		out, err string
		code     int
		signal   int
		why      string // part of Exit.Error
	}{
		{name: "zero", e: wire.Exec{Argv: args("true")}},
		{name: "one", e: wire.Exec{Argv: args("false")}, code: 1},
		{name: "code", e: sh("exit 255"), code: 255},
		{name: "streams", e: sh("echo out; echo err >&2"), out: "out\n", err: "err\n"},
		{name: "binary argument", e: wire.Exec{Argv: [][]byte{[]byte("printf"), []byte("%s"), {0xff, 0xfe, '\n'}}}, out: "\xff\xfe\n"},
		{name: "signal", e: sh("kill -9 $$"), code: 137, signal: 9},
		{name: "own signal", e: sh("kill -TERM $$"), code: 143, signal: 15},
		{name: "no command", e: wire.Exec{Argv: args("no-such-command")}, code: 127, why: "not found"},
		{name: "empty command", e: wire.Exec{Argv: args("")}, code: 127, why: "not found"},
		{name: "no file", e: wire.Exec{Argv: args("/no/such/file")}, code: 127, why: "no such file"},
		{name: "not executable", e: wire.Exec{Argv: args(plain)}, code: 126, why: "permission denied"},
		{name: "directory", e: wire.Exec{Argv: args(dir)}, code: 126, why: "directory"},
		{name: "exec format", e: wire.Exec{Argv: args(text)}, code: 126, why: "format"},
		{name: "no interpreter", e: wire.Exec{Argv: args(orphan)}, code: 127, why: "interpreter"},
		{name: "not executable in PATH", e: wire.Exec{Argv: args("plain"), Env: args("PATH=" + dir)}, code: 126, why: "permission denied"},
		{name: "no directory", e: wire.Exec{Argv: args("true"), Dir: "/no/such"}, code: 126, why: "/no/such"},
		{name: "directory is a file", e: wire.Exec{Argv: args("true"), Dir: plain}, code: 126, why: "not a directory"},
		{name: "directory given", e: wire.Exec{Argv: args("pwd"), Dir: dir}, out: dir + "\n"},
		{name: "PATH of the command", e: wire.Exec{Argv: args("orphan"), Env: args("PATH=" + dir)}, code: 127, why: "interpreter"},
		{name: "relative PATH", e: wire.Exec{Argv: args("orphan"), Dir: filepath.Dir(dir), Env: args("PATH=" + filepath.Base(dir))}, code: 127, why: "interpreter"},
		{name: "environment", e: wire.Exec{Argv: args("sh", "-c", `echo "$A|$PATH|$TERM"`), Env: args("A=b c", "PATH=/bin:/usr/bin")}, out: "b c|/bin:/usr/bin|\n"},
		{name: "default PATH", e: sh("echo $PATH"), out: login.DefaultPath + "\n"},
		{name: "no stdin", e: sh("cat; echo end"), out: "end\n"},
		{name: "stdin", e: wire.Exec{Argv: args("cat"), Stdin: true}, in: "a\x00b", out: "a\x00b"},
		{name: "stdin that nobody reads", e: wire.Exec{Argv: args("true"), Stdin: true}, in: strings.Repeat("x", 2*wire.Window)},
		{name: "stdin closed early", e: wire.Exec{Argv: args("head", "-c", "1"), Stdin: true}, in: strings.Repeat("x", 2*wire.Window), out: "x"},
		{name: "descriptors", e: sh("ls /proc/self/fd | tr '\\n' ' '"), out: "0 1 2 3 "},
		{name: "session of its own", e: sh(`set -- $(cat /proc/self/stat); test "$6" != 1 && read a b c d e f g </proc/$$/stat && test $$ = $f && echo yes`), out: "yes\n"},
		// Signals 1 to 28, the last seven digits: Go leaves 32 as it found it.
		{name: "signals at their defaults", e: sh("grep -E '^Sig(Blk|Ign)' /proc/self/status | cut -f2 | cut -c10- | tr '\\n' ' '"), out: "0000000 0000000 "},
		{name: "background process", e: sh("sleep 1000 & echo $!"), out: "*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := do(t, path, c.e, []byte(c.in))
			if c.out == "*" {
				var pid int
				if _, err := fmt.Sscan(r.out.String(), &pid); err != nil {
					t.Fatalf("stdout: %q", r.out.String())
				}
				p, _ := os.FindProcess(pid)
				if err := p.Kill(); err != nil {
					t.Errorf("the background process is gone: %v", err)
				}
				c.out = r.out.String()
			}
			if r.out.String() != c.out || r.err.String() != c.err {
				t.Errorf("streams: %q, %q; want %q, %q", r.out.String(), r.err.String(), c.out, c.err)
			}
			if r.exit.Code != c.code || r.exit.Signal != c.signal || !strings.Contains(r.exit.Error, c.why) || (c.why == "") != (r.exit.Error == "") {
				t.Errorf("exit: %+v; want code %d, signal %d, %q", r.exit, c.code, c.signal, c.why)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	_, path := newServer(t)
	for _, c := range []struct {
		name string
		req  wire.Request
		kind wire.Kind
	}{
		{"no exec", wire.Request{Op: wire.OpExec}, wire.KindUsage},
		{"no command", wire.Request{Op: wire.OpExec, Exec: &wire.Exec{Job: newID()}}, wire.KindUsage},
		{"bad id", wire.Request{Op: wire.OpExec, Exec: &wire.Exec{Job: "x", Argv: args("true")}}, wire.KindUsage},
		{"no user", wire.Request{Op: wire.OpExec, Exec: &wire.Exec{Job: newID(), Argv: args("true"), User: "nobody-such"}}, wire.KindUsage},
		{"no group", wire.Request{Op: wire.OpExec, Exec: &wire.Exec{Job: newID(), Argv: args("true"), User: "root:nobody-such"}}, wire.KindUsage},
		{"zero byte", wire.Request{Op: wire.OpExec, Exec: &wire.Exec{Job: newID(), Argv: args("a\x00b")}}, wire.KindUsage},
		{"no job", wire.Request{Op: wire.OpExec, Exec: &wire.Exec{Job: newID(), Attach: true}}, wire.KindNoJob},
		{"kill nothing", wire.Request{Op: wire.OpKill, Job: "abc", Signal: 15}, wire.KindNoJob},
		{"kill without signal", wire.Request{Op: wire.OpKill, Job: "abc"}, wire.KindUsage},
		{"unknown", wire.Request{Op: "dance"}, wire.KindUsage},
		{"restored without content", wire.Request{Op: wire.OpRestored}, wire.KindUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := ask(t, path, c.req)
			if rep.Error == "" || rep.Kind != c.kind {
				t.Errorf("reply: %+v, want kind %q", rep, c.kind)
			}
		})
	}
}

// A reader that stops must stop the command, and lose nothing of it.
func TestWindow(t *testing.T) {
	s, path := newServer(t)
	e := wire.Exec{Job: newID(), Argv: args("head", "-c", "8000000", "/dev/zero")}
	h := begin(t, path, e)
	total := 0
	for total < wire.Window { // without any acknowledgement
		f, err := h.r.Read()
		must(t, err)
		_, _, content, err := f.Stream()
		must(t, err)
		total += len(content)
	}
	if total != wire.Window {
		t.Fatalf("%d bytes came in a window of %d", total, wire.Window)
	}
	j := s.find(e.Job)
	eventually(t, "the agent takes a full window", func() bool { _, _, n := j.summary(); return n == wire.Window })
	rep := ask(t, path, wire.Request{Op: wire.OpJobs})
	if len(rep.Jobs) != 1 || rep.Jobs[0].Exit != nil {
		t.Fatalf("jobs: %+v", rep.Jobs)
	}
	r := &run{exec: e}
	must(t, r.over(dial(t, path), true, 0)) // takes the job over
	if r.out.Len() != 8000000 || r.exit.Code != 0 || r.exit.Lost != 0 {
		t.Errorf("%d bytes, %+v", r.out.Len(), r.exit)
	}
}

func (s *Server) find(id string) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id]
}

// 64 MB there and back.
func TestVolume(t *testing.T) {
	_, path := newServer(t)
	in := make([]byte, 64<<20)
	rand.Read(in)
	r := do(t, path, wire.Exec{Argv: args("cat"), Stdin: true}, in)
	if sha256.Sum256(r.out.Bytes()) != sha256.Sum256(in) {
		t.Errorf("%d bytes of %d, or other ones", r.out.Len(), len(in))
	}
}

func TestBigArguments(t *testing.T) {
	_, path := newServer(t)
	big := bytes.Repeat([]byte("a"), 100<<10)
	e := wire.Exec{Argv: [][]byte{[]byte("sh"), []byte("-c"), []byte(`printf %s "$1$2" | wc -c`), []byte("sh"), big, big}}
	if r := do(t, path, e, nil); r.out.String() != fmt.Sprintln(200<<10) {
		t.Errorf("200 KiB of arguments: %q %q %+v", r.out.String(), r.err.String(), r.exit)
	}
	e = wire.Exec{Argv: [][]byte{[]byte("true"), bytes.Repeat([]byte("a"), 200<<10)}} // MAX_ARG_STRLEN is 128 KiB
	if r := do(t, path, e, nil); r.exit.Code != 126 || !strings.Contains(r.exit.Error, "too long") {
		t.Errorf("an argument of 200 KiB: %+v", r.exit)
	}
}

func TestTool(t *testing.T) {
	_, path := newServer(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("content of f"), 0o644))
	r := do(t, path, wire.Exec{Tool: true, Argv: args("tar-create", "--", filepath.Join(dir, "f"))}, nil)
	if r.exit.Code != 0 || !bytes.Contains(r.out.Bytes(), []byte("content of f")) {
		t.Errorf("exit %+v, stderr %q", r.exit, r.err.String())
	}
}

func TestInfo(t *testing.T) {
	_, path := newServer(t)
	i := ask(t, path, wire.Request{Op: wire.OpInfo}).Info
	if i == nil || i.Release != "test" || i.Kernel == "" || i.Hostname == "" || i.UptimeSec <= 0 || i.MemTotal < i.MemFree || i.MemFree <= 0 || i.Load[0] == "" {
		t.Errorf("info: %+v", i)
	}
}

func TestPoweroff(t *testing.T) {
	asked := make(chan bool, 1)
	s := &Server{PowerOff: func(restart bool) { asked <- restart }}
	defer s.Close()
	a, b := pair(t)
	s.init()
	go s.serveConn(b)
	must(t, send(a, wire.TypeHello, wire.Hello{Version: wire.Version}))
	_, err := a.r.Read()
	must(t, err)
	if rep, err := a.request(wire.Request{Op: wire.OpPoweroff}); err != nil || rep.Error != "" {
		t.Fatal(rep, err)
	}
	if <-asked {
		t.Error("a restart where the transport is not vsock")
	}
}

// TestEndMain: a power-off asks the main command to end, with its own signal, and waits for it, but not for others.
func TestEndMain(t *testing.T) {
	s, path := newServer(t)
	file := filepath.Join(t.TempDir(), "ended")
	start := func(stop int, script string) {
		t.Helper()
		job := newID()
		e := wire.Exec{Job: job, Argv: args("sh", "-c", script), Detach: true, StopSignal: stop}
		if rep := ask(t, path, wire.Request{Op: wire.OpExec, Exec: &e}); rep.Error != "" || rep.Exit != nil {
			t.Fatalf("%+v", rep)
		}
	}
	start(0, "sleep 1000")
	start(int(unix.SIGQUIT), "trap 'sleep 0.2; echo QUIT >>"+file+"; exit' QUIT; echo >"+file+".up; while :; do sleep 0.01; done")
	for _, err := os.Stat(file + ".up"); err != nil; _, err = os.Stat(file + ".up") {
		time.Sleep(time.Millisecond)
	}
	s.endMain(deadline)
	if data, err := os.ReadFile(file); err != nil || string(data) != "QUIT\n" {
		t.Errorf("%q, %v", data, err)
	}
	start(int(unix.SIGQUIT), "trap '' QUIT; echo >"+file+".deaf; while :; do sleep 0.01; done")
	for _, err := os.Stat(file + ".deaf"); err != nil; _, err = os.Stat(file + ".deaf") {
		time.Sleep(time.Millisecond)
	}
	s.endMain(time.Millisecond) // it does not wait for ever
	if n := len(ask(t, path, wire.Request{Op: wire.OpJobs}).Jobs); n != 3 {
		t.Errorf("%d jobs", n)
	}
}
