package agent

import (
	"strings"
	"syscall"
	"testing"

	"noid/internal/link/wire"
)

func TestTerminal(t *testing.T) {
	_, path := newServer(t)
	e := wire.Exec{Job: newID(), TTY: true, Stdin: true, Term: "vt100", Size: &wire.Size{Rows: 33, Cols: 99},
		Argv: args("sh", "-c", `trap 'stty size' WINCH; tty; stty size; echo $TERM; test -t 0 && test -t 2 && : </dev/tty && echo isatty; until test "$line" = two; do read line; echo "got $line"; done; cat; echo "end"; exit 5`)}
	h := begin(t, path, e)
	h.expect(t, "isatty")
	must(t, send(h, wire.TypeResize, wire.Size{Rows: 44, Cols: 111}))
	h.Write(wire.AppendStream(nil, wire.TypeData, wire.Stdin, 0, []byte("one\n"))) // sh may run the trap only when read returns
	h.expect(t, "44 111")
	h.Write(wire.AppendStream(nil, wire.TypeData, wire.Stdin, 4, []byte("two\n")))
	h.expect(t, "got two")
	h.Write(wire.AppendStream(nil, wire.TypeEOF, wire.Stdin, 8, nil)) // as Ctrl+D
	h.expect(t, "end")
	if exit := h.waitExit(t); exit.Code != 5 {
		t.Errorf("exit: %+v", exit)
	}
}

func TestTerminalOutput(t *testing.T) {
	_, path := newServer(t)
	r := do(t, path, wire.Exec{TTY: true, Size: &wire.Size{Rows: 33, Cols: 99}, Argv: args("sh", "-c", "stty size; echo error >&2; printf '\\303\\244'")}, nil)
	if r.out.String() != "33 99\r\nerror\r\nä" || r.err.Len() != 0 {
		t.Errorf("output: %q, %q", r.out.String(), r.err.String())
	}
	// All of a long output comes, though the command has ended before it is read.
	r = do(t, path, wire.Exec{TTY: true, Argv: args("seq", "1", "20000")}, nil)
	if n := strings.Count(r.out.String(), "\r\n"); n != 20000 || !strings.HasSuffix(r.out.String(), "\n20000\r\n") {
		t.Errorf("%d lines of 20000", n)
	}
}

// An unfinished line is handed over and then the end.
func TestTerminalEOF(t *testing.T) {
	_, path := newServer(t)
	for _, in := range []string{"", "line\n", "unfinished"} {
		r := do(t, path, wire.Exec{TTY: true, Stdin: true, Argv: args("sh", "-c", "stty -echo; cat; echo .")}, []byte(in))
		if got, want := strings.ReplaceAll(r.out.String(), "\r", ""), in+".\n"; !strings.HasSuffix(got, want) {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// Ctrl+C, typed, and a signal of the host's go to the terminal's foreground group.
func TestTerminalInterrupt(t *testing.T) {
	_, path := newServer(t)
	const script = `set -m; sh -c 'trap "echo caught; exit 9" INT; echo ready; while :; do sleep 0.05; done'; echo "code $?"`
	for _, typed := range []bool{true, false} {
		h := begin(t, path, wire.Exec{Job: newID(), TTY: true, Stdin: true, Argv: args("sh", "-c", script)})
		h.expect(t, "ready")
		if typed {
			h.Write(wire.AppendStream(nil, wire.TypeData, wire.Stdin, 0, []byte{3}))
		} else {
			must(t, send(h, wire.TypeSignal, wire.Signal{Signal: int(syscall.SIGINT)}))
		}
		h.expect(t, "code 9")
		if exit := h.waitExit(t); exit.Code != 0 {
			t.Errorf("the shell around it: %+v", exit)
		}
	}
}

func TestLoginShell(t *testing.T) {
	_, path := newServer(t)
	r := do(t, path, wire.Exec{Shell: true, Stdin: true}, []byte("echo $0; pwd; echo $HOME; exit 4\n"))
	lines := strings.Fields(r.out.String())
	if r.exit.Code != 4 || len(lines) != 3 || !strings.HasPrefix(lines[0], "-") || lines[1] != lines[2] {
		t.Errorf("%q %q %+v", r.out.String(), r.err.String(), r.exit)
	}
}
