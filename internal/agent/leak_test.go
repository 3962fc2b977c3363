package agent

import (
	"bytes"
	"os"
	"runtime"
	"sync"
	"testing"

	"noid/internal/link/wire"
)

// A thousand jobs, some of which their hosts leave, take nothing for good.
func TestThousandJobs(t *testing.T) {
	s, path := newServer(t)
	one := func(i int) {
		switch i % 4 {
		case 0:
			do(t, path, wire.Exec{Argv: args("true")}, nil)
		case 1:
			if r := do(t, path, wire.Exec{Argv: args("cat"), Stdin: true}, []byte("x")); r.out.String() != "x" {
				t.Errorf("cat: %q", r.out.String())
			}
		case 2:
			do(t, path, wire.Exec{Argv: args("tty"), TTY: true}, nil)
		case 3:
			e := wire.Exec{Job: newID(), Argv: args("sleep", "1000")}
			h := begin(t, path, e)
			h.Write(wire.AppendDone(nil))
			h.Close()
		}
	}
	for i := range 8 {
		one(i)
	}
	settle := func() (fds, routines, children int) {
		runtime.GC()
		names, _ := os.ReadDir("/proc/self/fd")
		s.reaper.mu.Lock()
		defer s.reaper.mu.Unlock()
		return len(names), runtime.NumGoroutine(), len(s.reaper.procs)
	}
	idle := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.live == 0 && len(s.conns) == 1 // Accept waits with one
	}
	eventually(t, "idle", idle)
	fds, routines, _ := settle()
	var wg sync.WaitGroup
	const workers = 4
	for w := range workers {
		wg.Go(func() {
			for i := w; i < 1000; i += workers {
				one(i)
			}
		})
	}
	wg.Wait()
	eventually(t, "idle again", idle)
	eventually(t, "no more descriptors, goroutines and processes than before", func() bool {
		f, r, c := settle()
		return f <= fds+2 && r <= routines+2 && c == 0
	})
	jobs := ask(t, path, wire.Request{Op: wire.OpJobs}).Jobs
	for _, j := range jobs { // those that were hung up wait a minute for their host
		if j.Command != "sleep 1000" || j.Exit == nil {
			t.Errorf("job: %+v", j)
		}
	}
}

// hostile is bytes of a host that keeps to no protocol, behind a proper Hello and an exec of cat.
var hostile = map[string][]byte{
	"unknown type":         {42, 0, 0, 0, 0},
	"huge frame":           {byte(wire.TypeData), 0xff, 0xff, 0xff, 0xff},
	"second hello":         frame(wire.TypeHello, wire.Hello{}),
	"request to a job":     frame(wire.TypeRequest, wire.Request{Op: wire.OpPing}),
	"reply":                frame(wire.TypeReply, wire.Reply{}),
	"exit":                 frame(wire.TypeExit, wire.Exit{}),
	"data out of order":    wire.AppendStream(nil, wire.TypeData, wire.Stdin, 1, []byte("x")),
	"data for stdout":      wire.AppendStream(nil, wire.TypeData, wire.Stdout, 0, []byte("x")),
	"stream 9":             wire.AppendStream(nil, wire.TypeData, 9, 0, []byte("x")),
	"ack of nothing":       wire.AppendStream(nil, wire.TypeAck, wire.Stdout, 1, nil),
	"ack of stdin":         wire.AppendStream(nil, wire.TypeAck, wire.Stdin, 0, nil),
	"ack beyond":           wire.AppendStream(nil, wire.TypeAck, wire.Stderr, 1<<63, nil),
	"eof out of order":     wire.AppendStream(nil, wire.TypeEOF, wire.Stdin, 7, nil),
	"data after eof":       append(wire.AppendStream(nil, wire.TypeEOF, wire.Stdin, 0, nil), wire.AppendStream(nil, wire.TypeData, wire.Stdin, 0, []byte("x"))...),
	"signal 0":             frame(wire.TypeSignal, wire.Signal{}),
	"signal 1000":          frame(wire.TypeSignal, wire.Signal{Signal: 1000}),
	"signal without json":  {byte(wire.TypeSignal), 0, 0, 0, 1, '{'},
	"resize without json":  {byte(wire.TypeResize), 0, 0, 0, 1, '{'},
	"resize of no tty, ok": append(frame(wire.TypeResize, wire.Size{Rows: 1}), 42, 0, 0, 0, 0),
	"short data":           {byte(wire.TypeData), 0, 0, 0, 1, 0},
}

func frame(typ wire.Type, v any) []byte {
	b, err := wire.AppendMessage(nil, typ, v)
	if err != nil {
		panic(err)
	}
	return b
}

func TestHostileHost(t *testing.T) {
	s, path := newServer(t)
	for name, b := range hostile {
		t.Run(name, func(t *testing.T) {
			e := wire.Exec{Job: newID(), Argv: args("sleep", "1000"), Stdin: true}
			h := begin(t, path, e)
			h.Write(b)
			for {
				if _, err := h.r.Read(); err != nil {
					break // the agent ended the connection
				}
			}
			s.find(e.Job).hangUp(9)
			if rep := ask(t, path, wire.Request{Op: wire.OpPing}); rep.Error != "" {
				t.Error(rep.Error)
			}
		})
	}
	t.Run("more than a window of stdin", func(t *testing.T) {
		e := wire.Exec{Job: newID(), Argv: args("sleep", "1000"), Stdin: true}
		h := begin(t, path, e)
		var b []byte
		for at := 0; at < 2*wire.Window; at += wire.MaxData {
			b = wire.AppendStream(b, wire.TypeData, wire.Stdin, uint64(at), make([]byte, wire.MaxData))
		}
		if _, err := h.Write(b); err == nil {
			for {
				if _, err := h.r.Read(); err != nil {
					break
				}
			}
		}
		s.find(e.Job).hangUp(9)
	})
}

// FuzzConn feeds the server's reading end: whatever comes, it survives, and answers the next host.
func FuzzConn(f *testing.F) {
	hello := frame(wire.TypeHello, wire.Hello{Version: wire.Version, Min: wire.MinVersion})
	exec := frame(wire.TypeRequest, wire.Request{Op: wire.OpExec, Exec: &wire.Exec{Job: "0123456789abcdef", Argv: args("/no/such"), Stdin: true}})
	for _, b := range hostile {
		f.Add(bytes.Join([][]byte{hello, exec, b}, nil))
	}
	for _, op := range []wire.Op{wire.OpPing, wire.OpJobs, wire.OpKill, wire.OpInfo, wire.OpFreeze, wire.OpThaw} {
		f.Add(append(bytes.Clone(hello), frame(wire.TypeRequest, wire.Request{Op: op})...))
	}
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"))
	s, path := newServer(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if fuzzRuns(bytes.ToLower(b)) {
			t.Skip() // it would be obeyed
		}
		h, c := pair(t)
		done := make(chan struct{})
		go func() { defer close(done); s.serveConn(c) }()
		wrote := make(chan struct{})
		go func() { defer close(wrote); h.Write(b) }()
		go func() {
			for {
				if _, err := h.r.Read(); err != nil {
					return
				}
			}
		}()
		<-wrote
		// The end of what it says is the end of the connection.
		h.Conn.(interface{ CloseWrite() error }).CloseWrite()
		<-done
		if rep := ask(t, path, wire.Request{Op: wire.OpPing}); rep.Error != "" {
			t.Fatal(rep.Error)
		}
	})
}

// fuzzRuns says that b, in lower case, holds something that the server would obey to this machine's harm.
func fuzzRuns(b []byte) bool {
	has := func(s string) bool { return bytes.Contains(b, []byte(s)) }
	return has("argv") && !has(`["l25vl3n1y2g="]`) || has("shell") || has("restored") || has("clock") || has(`\u`)
}
