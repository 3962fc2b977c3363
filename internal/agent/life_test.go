package agent

import (
	"bytes"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"

	"noid/internal/link/wire"
)

// The connection is cut after any number of bytes, and every byte arrives once, in both directions.
func TestCutAnywhere(t *testing.T) {
	s, path := newServer(t)
	s.freeze() // a cut here is an end-of-file to the agent, which would hang up
	e := wire.Exec{Argv: args("sh", "-c", "echo begin >&2; cat; echo end >&2; exit 7"), Stdin: true}
	input := []byte(strings.Repeat("0123456789abcdef", 20))
	whole := do(t, path, e, input)
	for cut := 1; cut < 900; cut++ { // the conversation has about 450 bytes
		e.Job = newID()
		r := &run{exec: e, input: input}
		err := r.over(dial(t, path), false, cut)
		for tries := 0; err != nil && tries < 5; tries++ {
			if !errors.Is(err, errCut) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			err = r.over(dial(t, path), tries > 0, 0)
		}
		if err != nil || !bytes.Equal(r.out.Bytes(), whole.out.Bytes()) || !bytes.Equal(r.err.Bytes(), whole.err.Bytes()) || r.exit != whole.exit {
			t.Fatalf("cut at %d: %v, %d and %d bytes, %+v", cut, err, r.out.Len(), r.err.Len(), r.exit)
		}
	}
}

// A long stream is cut again and again.
func TestCutOften(t *testing.T) {
	s, path := newServer(t)
	s.freeze()
	input := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18)
	for i := range input {
		input[i] ^= byte(i >> 8)
	}
	r := &run{exec: wire.Exec{Job: newID(), Argv: args("cat"), Stdin: true}, input: input}
	err, cuts := r.over(dial(t, path), false, 1+mrand.IntN(200_000)), 0
	for ; errors.Is(err, errCut); cuts++ {
		err = r.over(dial(t, path), true, 1+mrand.IntN(400_000))
	}
	if err != nil || !bytes.Equal(r.out.Bytes(), input) || r.exit.Code != 0 || r.exit.Lost != 0 {
		t.Errorf("%v; %d of %d bytes, %+v", err, r.out.Len(), len(input), r.exit)
	}
	if cuts < 5 {
		t.Errorf("%d cuts", cuts)
	}
}

// Whether a job is hung up, by how its connection ends.
func TestEndings(t *testing.T) {
	const trap = `trap 'echo hup >&2; exit 33' HUP; echo ready; while :; do sleep 0.05; done`
	done := func(h *host) { h.Write(wire.AppendDone(nil)) }
	closed := func(h *host) { h.Close() }
	broken := func(h *host) { h.Write([]byte{99, 0, 0, 0, 0}) } // not the protocol: neither Done nor a clean end
	for _, c := range []struct {
		name   string
		detach bool
		freeze bool
		end    func(*host)
		hungUp bool
	}{
		{"done", false, false, done, true},
		{"done while frozen", false, true, done, true},
		{"closed", false, false, closed, true},
		{"closed while frozen", false, true, closed, false},
		{"broken", false, false, broken, false}, // within the grace
		{"broken while frozen", false, true, broken, false},
		{"done, detached", true, false, done, false},
		{"closed, detached", true, false, closed, false},
		{"broken, detached", true, false, broken, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, path := newServer(t)
			e := sh(trap)
			e.Detach = c.detach
			if c.detach {
				begin(t, path, e)
				e.Attach = true
				e.Detach = false
			}
			h := begin(t, path, e)
			h.expect(t, "ready")
			if c.freeze {
				ask(t, path, wire.Request{Op: wire.OpFreeze})
			}
			j := s.find(e.Job)
			c.end(h)
			eventually(t, "the connection's end is seen", func() bool { at, _, _ := j.summary(); return !at })
			if c.hungUp {
				<-j.ended
				if d := j.describe(); d.Exit.Code != 33 {
					t.Errorf("exit: %+v", d.Exit)
				}
				return
			}
			if d := j.describe(); d.Exit != nil || d.Detached != c.detach {
				t.Errorf("job: %+v", d)
			}
			r := &run{exec: e}
			r.out.WriteString("ready\n")
			ask(t, path, wire.Request{Op: wire.OpKill, Job: e.Job[:8], Signal: int(syscall.SIGHUP)})
			if err := r.over(dial(t, path), true, 0); err != nil || r.exit.Code != 33 || !strings.Contains(r.err.String(), "hup\n") {
				t.Errorf("attached again: %v, %q, %+v", err, r.err.String(), r.exit)
			}
		})
	}
}

// The grace after a broken connection, and after a thaw, ends with a hang-up.
func TestGrace(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the grace")
	}
	for _, frozen := range []bool{false, true} {
		t.Run(fmt.Sprintf("frozen=%v", frozen), func(t *testing.T) {
			t.Parallel()
			s, path := newServer(t)
			e := sh("echo ready; exec sleep 1000")
			h := begin(t, path, e)
			h.expect(t, "ready")
			j := s.find(e.Job)
			if frozen {
				ask(t, path, wire.Request{Op: wire.OpFreeze})
				h.Close()
				eventually(t, "the end is seen", func() bool { at, _, _ := j.summary(); return !at })
				ask(t, path, wire.Request{Op: wire.OpThaw})
			} else {
				h.Write([]byte{99, 0, 0, 0, 0})
			}
			<-j.ended
			if d := j.describe(); d.Exit.Signal != int(syscall.SIGHUP) {
				t.Errorf("exit: %+v", d.Exit)
			}
		})
	}
}

// In a clone the commands of the source run on with nobody attached, and their output is kept up to a bound.
func TestRestoredOrphans(t *testing.T) {
	s, path := newServer(t)
	const size = 3 * wire.Keep
	e := sh(fmt.Sprintf("echo ready; head -c %d /dev/zero; echo last; exec sleep 1000", size))
	h := begin(t, path, e)
	h.expect(t, "ready")
	ask(t, path, wire.Request{Op: wire.OpFreeze})
	h.Close()
	rep := ask(t, path, wire.Request{Op: wire.OpRestored, Restored: &wire.Restored{Event: "clone", Name: "x", Source: "y@1"}})
	if rep.Error != "" {
		t.Fatal(rep.Error)
	}
	j := s.find(e.Job)
	const total = len("ready\n") + size + len("last\n")
	eventually(t, "all output is taken", func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.out[0].end == uint64(total)
	})
	jobs := ask(t, path, wire.Request{Op: wire.OpJobs}).Jobs
	if len(jobs) != 1 || !jobs[0].Detached || jobs[0].Attached || jobs[0].Exit != nil {
		t.Fatalf("jobs: %+v", jobs)
	}
	ask(t, path, wire.Request{Op: wire.OpKill, Job: e.Job, Signal: 9})
	<-j.ended
	e.Attach = true
	h = begin(t, path, e)
	f, err := h.r.Read()
	must(t, err)
	if _, offset, _, _ := f.Stream(); f.Type != wire.TypeData || offset != uint64(total-wire.Keep) {
		t.Errorf("the kept output begins at %d, want %d", offset, total-wire.Keep)
	}
	for acked := uint64(total - wire.Keep); acked < uint64(total); {
		acked = min(acked+wire.MaxData, uint64(total))
		if _, offset, content, _ := f.Stream(); f.Type == wire.TypeData {
			h.Write(wire.AppendStream(nil, wire.TypeAck, wire.Stdout, offset+uint64(len(content)), nil))
			if offset+uint64(len(content)) == uint64(total) {
				break
			}
		}
		f, err = h.r.Read()
		must(t, err)
	}
	if exit := h.waitExit(t); exit.Signal != 9 || exit.Lost < uint64(total-wire.Keep-wire.Window) {
		t.Errorf("exit: %+v", exit)
	}
	// In a machine that went back to an earlier time, a host knows more than there is.
	e.Stdout = uint64(total) + 1
	if rep := ask(t, path, wire.Request{Op: wire.OpExec, Exec: &e}); rep.Kind != wire.KindNoJob {
		t.Errorf("attach from the future: %+v", rep)
	}
}

func TestDetach(t *testing.T) {
	s, path := newServer(t)
	e := sh("echo a; echo b >&2; exit 3")
	e.Detach = true
	for range 2 { // asking twice starts once
		if rep := ask(t, path, wire.Request{Op: wire.OpExec, Exec: &e}); rep.Error != "" {
			t.Fatal(rep.Error)
		}
	}
	<-s.find(e.Job).ended
	jobs := ask(t, path, wire.Request{Op: wire.OpJobs}).Jobs
	if len(jobs) != 1 || jobs[0].Exit == nil || jobs[0].Exit.Code != 3 || !jobs[0].Detached || jobs[0].PID == 0 {
		t.Fatalf("jobs: %+v", jobs)
	}
	e.Detach = false
	r := &run{exec: e}
	if err := r.over(dial(t, path), true, 0); err != nil || r.out.String() != "a\n" || r.err.String() != "b\n" || r.exit.Code != 3 {
		t.Fatalf("%v: %q %q %+v", err, r.out.String(), r.err.String(), r.exit)
	}
	if jobs := ask(t, path, wire.Request{Op: wire.OpJobs}).Jobs; len(jobs) != 1 {
		t.Errorf("a detached job that was read is not listed: %+v", jobs)
	}
	if rep := ask(t, path, wire.Request{Op: wire.OpKill, Job: e.Job, Signal: 15}); rep.Kind != wire.KindNoJob {
		t.Errorf("killing what has ended: %+v", rep)
	}
	none := wire.Exec{Job: newID(), Argv: args("/nosuch"), Detach: true}
	if rep := ask(t, path, wire.Request{Op: wire.OpExec, Exec: &none}); rep.Exit == nil || rep.Exit.Code != 127 || s.find(none.Job) != nil {
		t.Errorf("what cannot run: %+v", rep)
	}
	for range keepEnded + 10 {
		x := wire.Exec{Job: newID(), Argv: args("true"), Detach: true}
		ask(t, path, wire.Request{Op: wire.OpExec, Exec: &x})
		if j := s.find(x.Job); j != nil {
			<-j.ended
		}
	}
	eventually(t, "only the newest are listed", func() bool {
		return len(ask(t, path, wire.Request{Op: wire.OpJobs}).Jobs) == keepEnded
	})
}

func TestTimeout(t *testing.T) {
	_, path := newServer(t)
	e := sh("sleep 1000 & echo $!; wait")
	e.TimeoutMs = 300
	r := do(t, path, e, nil)
	if !r.exit.TimedOut || r.exit.Signal != int(syscall.SIGTERM) {
		t.Errorf("exit: %+v", r.exit)
	}
	var pid int
	fmt.Sscan(r.out.String(), &pid)
	eventually(t, "the whole group ends", func() bool { return gone(pid) })

	if testing.Short() {
		return
	}
	e = sh("trap '' TERM; while :; do sleep 0.1; done")
	e.TimeoutMs = 100
	if r := do(t, path, e, nil); !r.exit.TimedOut || r.exit.Signal != int(syscall.SIGKILL) {
		t.Errorf("exit of a command that ignores SIGTERM: %+v", r.exit)
	}
}

// gone says whether a process has ended; whoever inherited it may not have reaped it.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat := readProc(fmt.Sprintf("%d/stat", pid))
	_, state, _ := strings.Cut(stat, ") ")
	return stat == "" || strings.HasPrefix(state, "Z")
}

func TestSignals(t *testing.T) {
	_, path := newServer(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1} {
		e := wire.Exec{Job: newID(), Argv: args("sleep", "1000")} // a shell may swallow a SIGINT while it forks
		h := begin(t, path, e)
		must(t, send(h, wire.TypeSignal, wire.Signal{Signal: int(sig)}))
		if exit := h.waitExit(t); exit.Signal != int(sig) || exit.Code != 128+int(sig) {
			t.Errorf("%v: %+v", sig, exit)
		}
	}
}

func TestLimitOfJobs(t *testing.T) {
	s, path := newServer(t)
	s.mu.Lock()
	s.live = wire.MaxJobs
	s.mu.Unlock()
	rep := ask(t, path, wire.Request{Op: wire.OpExec, Exec: &wire.Exec{Job: newID(), Argv: args("true")}})
	if rep.Kind != wire.KindBusy {
		t.Errorf("reply: %+v", rep)
	}
	s.mu.Lock()
	s.live = 0
	s.mu.Unlock()
}

// An agent and a host that have no version in common say so.
func TestVersions(t *testing.T) {
	_, path := newServer(t)
	c, err := net.Dial("unix", path)
	must(t, err)
	defer c.Close()
	must(t, send(c, wire.TypeHello, wire.Hello{Version: 99, Min: 98}))
	f, err := wire.NewReader(c).Read()
	must(t, err)
	var hello wire.Hello
	if f.Decode(&hello); hello.Version != 0 || !strings.Contains(hello.Error, "versions") {
		t.Errorf("hello: %+v", hello)
	}
}
