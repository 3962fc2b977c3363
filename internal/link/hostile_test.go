package link

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"noid/internal/errs"
	"noid/internal/link/wire"
)

// TestHostile has a guest break the protocol: Exec ends with wire.ErrProtocol and does not dial again.
func TestHostile(t *testing.T) {
	block := strings.Repeat("x", wire.MaxData)
	for _, test := range []struct {
		name string
		play func(p *peer)
	}{
		{"data out of order", func(p *peer) { p.stream(wire.TypeData, wire.Stdout, 1, "x") }},
		{"data twice", func(p *peer) {
			p.stream(wire.TypeData, wire.Stdout, 0, "x")
			p.stream(wire.TypeData, wire.Stdout, 0, "x")
		}},
		{"data beyond the window", func(p *peer) {
			for i := range uint64(wire.Window/wire.MaxData + 20) {
				if p.stream(wire.TypeData, wire.Stderr, i*wire.MaxData, block) != nil {
					return
				}
			}
		}},
		{"data after the end", func(p *peer) {
			p.stream(wire.TypeEOF, wire.Stdout, 0, "")
			p.stream(wire.TypeData, wire.Stdout, 0, "x")
		}},
		{"end beyond the data", func(p *peer) { p.stream(wire.TypeEOF, wire.Stdout, 5, "") }},
		{"data on stdin", func(p *peer) { p.stream(wire.TypeData, wire.Stdin, 0, "x") }},
		{"stream 9", func(p *peer) { p.stream(wire.TypeData, 9, 0, "x") }},
		{"acknowledges what was not sent", func(p *peer) { p.stream(wire.TypeAck, wire.Stdin, 1<<40, "") }},
		{"acknowledges its own", func(p *peer) { p.stream(wire.TypeAck, wire.Stdout, 0, "") }},
		{"exit code that would be 0", func(p *peer) { p.message(wire.TypeExit, wire.Exit{Code: 256}) }},
		{"exit code below 0", func(p *peer) { p.message(wire.TypeExit, wire.Exit{Code: -1}) }},
		{"exit that is no JSON", func(p *peer) { p.Write([]byte{byte(wire.TypeExit), 0, 0, 0, 1, '{'}) }},
		{"a second reply", func(p *peer) { p.message(wire.TypeReply, wire.Reply{}) }},
		{"a request", func(p *peer) { p.message(wire.TypeRequest, wire.Request{}) }},
		{"unknown frame", func(p *peer) { p.Write([]byte{77, 0, 0, 0, 0}) }},
		{"endless length", func(p *peer) { p.Write([]byte{byte(wire.TypeExit), 0xff, 0xff, 0xff, 0xff}) }},
		{"nothing for ever", func(p *peer) {
			for p.stream(wire.TypeAck, wire.Stdin, 0, "") == nil {
			}
		}},
		{"empty data for ever", func(p *peer) {
			for p.stream(wire.TypeData, wire.Stdout, 0, "") == nil {
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var conns atomic.Int32
			blocked := make(chan struct{})
			c := scripted(t, func(n int, p *peer, req wire.Request) {
				if conns.Add(1) > 1 {
					return
				}
				p.message(wire.TypeReply, wire.Reply{})
				ended := p.background()
				test.play(p)
				<-ended
				close(blocked)
			})
			slow := writerFunc(func(b []byte) (int, error) {
				if len(b) > 10 {
					<-blocked // so that the window is not opened
				}
				return len(b), nil
			})
			_, err := c.Exec(limited(t, 20*time.Second), wire.Exec{Argv: argv("x"), Stdin: true}, Streams{Out: slow, Err: slow})
			if !errors.Is(err, wire.ErrProtocol) {
				t.Errorf("Exec: %v", err)
			}
			if conns.Load() != 1 {
				t.Errorf("%d connections", conns.Load())
			}
		})
	}
}

func limited(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestAfterAttach has output go on at a higher offset, which only an attach allows, and a guest that went back in time.
func TestAfterAttach(t *testing.T) {
	ahead := func(n int, p *peer, req wire.Request) {
		p.message(wire.TypeReply, wire.Reply{})
		ended := p.background()
		if n == 0 {
			p.stream(wire.TypeData, wire.Stdout, 0, "one")
			p.Close()
			<-ended
			return
		}
		if !req.Exec.Attach || req.Exec.Stdout > 3 || len(req.Exec.Argv) != 0 {
			t.Errorf("attach with %+v", *req.Exec)
		}
		p.stream(wire.TypeData, wire.Stdout, 103, "two")
		p.stream(wire.TypeEOF, wire.Stdout, 106, "")
		p.message(wire.TypeExit, wire.Exit{Code: 4, Lost: 100})
		<-ended
	}
	t.Run("ahead", func(t *testing.T) {
		var out bytes.Buffer
		exit, err := scripted(t, ahead).Exec(limited(t, 20*time.Second), wire.Exec{Argv: argv("x")}, Streams{Out: &out})
		if err != nil || exit.Code != 4 || exit.Lost != 100 {
			t.Errorf("%+v, %v", exit, err)
		}
		if s := out.String(); s != "onetwo" && s != "two" { // the first is the client's only once its writer began
			t.Errorf("output %q", s)
		}
	})
	t.Run("forgotten", func(t *testing.T) {
		c := scripted(t, func(n int, p *peer, req wire.Request) {
			if n == 0 {
				p.message(wire.TypeReply, wire.Reply{})
				return
			}
			p.message(wire.TypeReply, wire.Reply{Error: "no such job", Kind: wire.KindNoJob})
		})
		if _, err := c.Exec(limited(t, 20*time.Second), wire.Exec{Argv: argv("x")}, Streams{}); !errors.Is(err, errs.ErrState) {
			t.Errorf("Exec: %v", err)
		}
	})
	t.Run("input taken back", func(t *testing.T) {
		c := scripted(t, func(n int, p *peer, req wire.Request) {
			p.message(wire.TypeReply, wire.Reply{})
			if n == 0 {
				p.in.Read()
				p.stream(wire.TypeAck, wire.Stdin, 5, "")
			}
		})
		_, err := c.Exec(limited(t, 20*time.Second), wire.Exec{Argv: argv("x"), Stdin: true}, Streams{In: strings.NewReader("input")})
		if !errors.Is(err, errs.ErrState) {
			t.Errorf("Exec: %v", err)
		}
	})
}

// TestReplies has a guest lie in its replies.
func TestReplies(t *testing.T) {
	reply := func(r any) func(int, *peer, wire.Request) {
		return func(_ int, p *peer, _ wire.Request) { p.message(wire.TypeReply, r) }
	}
	ctx := limited(t, 20*time.Second)
	flood := map[string]any{"jobs": make([]struct{}, maxJobs+1)}
	if _, err := scripted(t, reply(flood)).Jobs(ctx); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("too many jobs: %v", err)
	}
	if _, err := scripted(t, reply(map[string]any{"jobs": 5})).Jobs(ctx); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("jobs that are none: %v", err)
	}
	jobs, err := scripted(t, reply(wire.Reply{Jobs: []wire.Job{{ID: "a", Command: strings.Repeat("y", 1<<20)}}})).Jobs(ctx)
	if err != nil || len(jobs) != 1 || len(jobs[0].Command) > 4*maxText {
		t.Errorf("long command: %d jobs, %v", len(jobs), err)
	}
	if _, err := scripted(t, reply(wire.Reply{})).Info(ctx); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("no information: %v", err)
	}
	err = scripted(t, reply(wire.Reply{Error: "\x1b]0;owned\a" + strings.Repeat("z", 1<<20) + "\nhint: rm -rf /"})).Ping(ctx)
	if err == nil || len(err.Error()) > 4*maxText || strings.ContainsAny(err.Error(), "\x1b\a\n") {
		t.Errorf("error text: %.200q", err)
	}
	if err := scripted(t, reply(wire.Reply{Error: "full", Kind: wire.KindBusy})).Ping(ctx); !errors.Is(err, errs.ErrBusy) {
		t.Errorf("busy: %v", err)
	}
}

func TestVersions(t *testing.T) {
	for _, hello := range []wire.Hello{{Version: 0, Error: "too old"}, {Version: wire.Version + 1}, {Version: -1}} {
		var conns atomic.Int32
		c := scripted(t, nil)
		dial := c.Dial
		c.Dial = func(ctx context.Context) (net.Conn, error) { conns.Add(1); return dial(ctx) }
		c.hello(t, hello)
		if err := c.Wait(limited(t, 20*time.Second)); !errors.Is(err, errs.ErrHost) || conns.Load() != 1 {
			t.Errorf("%+v: %v after %d connections", hello, err, conns.Load())
		}
	}
}

// TestNoAnswer reaches nobody: a socket that refuses, and one that takes connections and says nothing.
func TestNoAnswer(t *testing.T) {
	silent := func(ctx context.Context) (net.Conn, error) {
		host, guest := net.Pipe()
		t.Cleanup(func() { guest.Close() })
		go guest.Read(make([]byte, 1<<10))
		return host, nil
	}
	refuses := func(context.Context) (net.Conn, error) { return nil, errors.New("connection refused") }
	for name, dial := range map[string]func(context.Context) (net.Conn, error){"silent": silent, "refuses": refuses} {
		t.Run(name, func(t *testing.T) {
			c := &Client{Dial: dial, Patience: 50 * time.Millisecond}
			if _, err := c.Exec(t.Context(), sh("true"), Streams{}); !errors.Is(err, ErrNoAnswer) || !errors.Is(err, errs.ErrTimeout) {
				t.Errorf("Exec: %v", err)
			}
			if err := c.Wait(limited(t, 50*time.Millisecond)); !errors.Is(err, errs.ErrTimeout) {
				t.Errorf("Wait: %v", err)
			}
			c = &Client{Dial: dial, Alive: func() bool { return false }}
			if err := c.Wait(t.Context()); !errors.Is(err, errs.ErrState) {
				t.Errorf("Wait for the dead: %v", err)
			}
			if _, err := c.Exec(t.Context(), sh("true"), Streams{}); !errors.Is(err, errs.ErrState) {
				t.Errorf("Exec in the dead: %v", err)
			}
			c = &Client{Dial: dial}
			signals := make(chan int, 1)
			signals <- 2
			if _, err := c.Exec(t.Context(), sh("true"), Streams{Signals: signals}); !errors.Is(err, context.Canceled) {
				t.Errorf("Exec with a signal before the command: %v", err)
			}
		})
	}
}
