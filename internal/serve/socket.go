package serve

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/coder/websocket"
	"github.com/google/jsonschema-go/jsonschema"
	"golang.org/x/sys/unix"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// The first byte of a binary message says whose bytes follow.
const (
	streamStdin  = 0
	streamStdout = 1
	streamStderr = 2
)

// socketProtocol is the subprotocol of noid's WebSockets, and maxMessage bounds a client's message, in bytes.
const (
	socketProtocol = "noid.v1"
	maxMessage     = 1 << 20
)

const socketAbout = `A WebSocket, of the subprotocol noid.v1. The client's first message is the text SocketStart. Then binary messages
carry data, after one byte that names the stream: 0 stdin (from the client), 1 stdout, 2 stderr. Text messages are JSON: from
the client SocketControl, and at the end one SocketEnd of the server's, after which it closes. A signal or a size does not
wait until the command has read what came before. A client that closes hangs the command up. Where only a page of a browser is the client, it offers the token as a
second subprotocol: noid.bearer.TOKEN.`

// SocketStart is the first message of a client: what is to run, where the path does not say that already.
type SocketStart struct {
	Type string `json:"type" enum:"start"`
	api.CommandSpec
	At      string `json:"at,omitempty" max:"300" jsonschema:"in a throw-away clone of the VM: as its checkpoint of this id or label has it, or now"`
	Turn    string `json:"turn,omitempty" max:"200"`
	TTY     bool   `json:"tty,omitempty" jsonschema:"it gets a terminal; a shell always does"`
	Cols    uint16 `json:"cols,omitempty" jsonschema:"of the terminal"`
	Rows    uint16 `json:"rows,omitempty"`
	Term    string `json:"term,omitempty" max:"100" jsonschema:"its TERM"`
	NoStdin bool   `json:"no_stdin,omitempty" jsonschema:"it reads nothing"`
}

// SocketControl is a later message: the terminal has another size, a signal for the command, or the end of its input.
type SocketControl struct {
	Type   string `json:"type" enum:"resize,signal,eof"`
	Cols   uint16 `json:"cols,omitempty"`
	Rows   uint16 `json:"rows,omitempty"`
	Signal string `json:"signal,omitempty" pattern:"^[A-Za-z0-9]{1,12}$" jsonschema:"by name or number"`
}

// SocketEnd is the server's last message: how the command ended, or why it could not run. A console that is over has
// neither.
type SocketEnd struct {
	Type     string   `json:"type" enum:"exit,error"`
	ExitCode *int     `json:"exit_code,omitempty" jsonschema:"of the type exit"`
	Signal   string   `json:"signal,omitempty"`
	TimedOut bool     `json:"timed_out,omitempty"`
	Error    string   `json:"error,omitempty" jsonschema:"why it could not run"`
	Problem  *Problem `json:"problem,omitempty" jsonschema:"of the type error"`
}

func (s *server) addSockets() {
	const tag = "Commands"
	addRaw(s, op{method: "GET", path: "/vms/{vm}/exec", id: "exec_socket", verb: "exec", tag: tag, summary: "Run a command over a WebSocket", reads: true, gives: socketType, about: socketAbout},
		func(ctx context.Context, c *call, in inVM) error {
			return s.socket(ctx, c, in.VM, func(ctx context.Context, k *socket, start SocketStart) (vm.Exit, error) {
				defer s.metrics.running()()
				return k.exec(ctx, in.VM, start, false)
			})
		})
	addRaw(s, op{method: "GET", path: "/vms/{vm}/shell", id: "shell_socket", verb: "shell", tag: tag, summary: "A login shell over a WebSocket", reads: true, gives: socketType,
		about: "As exec_socket, with a terminal and without command and argv."},
		func(ctx context.Context, c *call, in inVM) error {
			return s.socket(ctx, c, in.VM, func(ctx context.Context, k *socket, start SocketStart) (vm.Exit, error) {
				defer s.metrics.running()()
				return k.exec(ctx, in.VM, start, true)
			})
		})
	addRaw(s, op{method: "GET", path: "/vms/{vm}/console", id: "console_socket", verb: "console", tag: tag, summary: "The serial console over a WebSocket", reads: true, gives: socketType,
		about: "As exec_socket; of SocketStart the type alone counts. A byte 17 (Ctrl+Q) detaches, as closing does; the VM runs on."},
		func(ctx context.Context, c *call, in inVM) error {
			return s.socket(ctx, c, in.VM, func(ctx context.Context, k *socket, _ SocketStart) (vm.Exit, error) {
				return vm.Exit{}, c.m.Console(ctx, in.VM, vm.ConsoleStreams{In: k.stdin, Out: k.writer(streamStdout), Messages: io.Discard})
			})
		})
}

// socket is one WebSocket.
type socket struct {
	m       *vm.Manager
	conn    *websocket.Conn
	stdin   *io.PipeReader
	in      *input
	resize  chan vm.Size
	signals chan int
}

// socket accepts a WebSocket, and has run do what its first message asks for.
func (s *server) socket(ctx context.Context, c *call, name string, run func(context.Context, *socket, SocketStart) (vm.Exit, error)) error {
	if !strings.EqualFold(c.r.Header.Get("Upgrade"), "websocket") {
		c.w.Header().Set("Upgrade", "websocket")
		return errs.New(errUpgrade, "this is a WebSocket").Hint("connect as a WebSocket of the subprotocol " + socketProtocol)
	}
	if _, err := c.m.Info(ctx, name); err != nil {
		return err
	}
	end, err := s.streams.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	s.hijacked.Add(1)
	defer s.hijacked.Done()
	conn, err := websocket.Accept(c.w, c.r, &websocket.AcceptOptions{Subprotocols: []string{socketProtocol}})
	if err != nil {
		return nil // it has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxMessage)
	ctx, stop := s.untilClosing(context.WithoutCancel(ctx)) // net/http does not watch the connection any more
	defer stop()
	k := &socket{m: c.m, conn: conn, resize: make(chan vm.Size, 1), signals: make(chan int, 16)}
	var in *io.PipeWriter
	k.stdin, in = io.Pipe()
	k.in = newInput(in, func() bool { return hungUp(connOf(ctx)) })
	go k.in.run()         // to its end, which is below
	c.w = discarding{c.w} // its headers were sent: warnings are lost
	var last SocketEnd
	exit, err := k.begin(ctx, stop, run)
	select {
	case <-s.closing:
		err = errs.Mark(err, errClosing)
	default:
	}
	if err != nil {
		p := problemOf(err)
		last = SocketEnd{Type: "error", Problem: &p}
	} else {
		last = SocketEnd{Type: "exit", ExitCode: &exit.Code, TimedOut: exit.TimedOut, Error: exit.Error}
		if exit.Signal != 0 {
			last.Signal = unix.SignalName(unix.Signal(exit.Signal))
		}
	}
	k.stdin.CloseWithError(io.ErrClosedPipe)
	k.in.end()
	if conn.Write(context.WithoutCancel(ctx), websocket.MessageText, encode(last)) == nil {
		conn.Close(websocket.StatusNormalClosure, "")
	}
	return nil
}

// begin reads the first message, and runs what that asks for while later messages are read.
func (k *socket) begin(ctx context.Context, stop context.CancelFunc, run func(context.Context, *socket, SocketStart) (vm.Exit, error)) (vm.Exit, error) {
	var start SocketStart
	wait, cancel := context.WithTimeout(ctx, headerWait)
	kind, first, err := k.conn.Read(wait)
	cancel()
	if err != nil {
		return vm.Exit{}, err
	}
	if err := decode(startSchema(), kind, first, &start); err != nil {
		return vm.Exit{}, err
	}
	var reading sync.WaitGroup
	refused := make(chan error, 1)
	reading.Go(func() {
		defer stop() // the client has gone, or makes no sense
		for {
			kind, message, err := k.conn.Read(context.WithoutCancel(ctx)) // whose end would close it
			if err == nil {
				err = k.take(kind, message)
			}
			if err != nil {
				k.in.end()
				if websocket.CloseStatus(err) < 0 {
					refused <- err
				}
				return
			}
		}
	})
	exit, err := run(ctx, k, start)
	select {
	case why := <-refused:
		if errors.Is(why, errs.ErrUsage) {
			err = why
		}
	default:
	}
	return exit, err
}

var (
	startSchema   = sync.OnceValue(func() *jsonschema.Resolved { return schemaFor[SocketStart]() })
	controlSchema = sync.OnceValue(func() *jsonschema.Resolved { return schemaFor[SocketControl]() })
)

// decode reads a text message.
func decode(schema *jsonschema.Resolved, kind websocket.MessageType, message []byte, to any) error {
	var doc any
	if kind != websocket.MessageText {
		return errs.New(errs.ErrUsage, "the first message is text: SocketStart")
	}
	if err := json.Unmarshal(message, &doc); err != nil {
		return errs.New(errs.ErrUsage, "a message is no JSON: %v", err)
	}
	if err := schema.Validate(doc); err != nil {
		return errs.New(errs.ErrUsage, "a message: %s", why(err))
	}
	if err := json.Unmarshal(message, to); err != nil {
		return errs.New(errs.ErrUsage, "a message: %v", err)
	}
	return nil
}

// take does what a message says.
func (k *socket) take(kind websocket.MessageType, message []byte) error {
	if kind == websocket.MessageBinary {
		if len(message) == 0 || message[0] != streamStdin {
			return errs.New(errs.ErrUsage, "a binary message begins with 0, for stdin")
		}
		return k.in.add(message[1:])
	}
	var m SocketControl
	if err := decode(controlSchema(), kind, message, &m); err != nil {
		return err
	}
	switch m.Type {
	case "eof":
		k.in.end()
	case "resize":
		select { // the last one counts
		case <-k.resize:
		default:
		}
		k.resize <- vm.Size{Rows: m.Rows, Cols: m.Cols}
	case "signal":
		n, err := signalNumber(m.Signal)
		if err != nil {
			return err
		}
		select {
		case k.signals <- n:
		default: // so many at once are one flood
		}
	}
	return nil
}

func (k *socket) exec(ctx context.Context, name string, start SocketStart, shell bool) (vm.Exit, error) {
	if start.Input != "" {
		return vm.Exit{}, errs.New(errs.ErrUsage, "input: a WebSocket has binary messages for that")
	}
	command, _, err := start.Parse()
	if err != nil {
		return vm.Exit{}, err
	}
	command.Shell, command.TTY, command.Term, command.Stdin, command.Turn = shell, start.TTY || shell, start.Term, !start.NoStdin || shell, start.Turn
	if command.TTY && start.Cols > 0 && start.Rows > 0 {
		command.Size = &vm.Size{Rows: start.Rows, Cols: start.Cols}
	}
	streams := vm.Streams{Out: k.writer(streamStdout), Err: k.writer(streamStderr), Resize: k.resize, Signals: k.signals}
	if command.Stdin {
		streams.In = k.stdin
	} else {
		go io.Copy(io.Discard, k.stdin)
	}
	if start.At != "" {
		return k.m.ExecAt(ctx, name, start.At, command, streams)
	}
	return k.m.Exec(ctx, name, command, streams)
}

// writer sends what is written to it as messages of a stream.
func (k *socket) writer(stream byte) io.Writer { return socketWriter{k.conn, stream} }

type socketWriter struct {
	conn   *websocket.Conn
	stream byte
}

// Write implements io.Writer. A client that does not read is cut: see guardedConn.
func (w socketWriter) Write(b []byte) (int, error) {
	if err := w.conn.Write(context.Background(), websocket.MessageBinary, append([]byte{w.stream}, b...)); err != nil {
		return 0, errors.New("the client has gone: " + untrusted.Line(err.Error(), 200))
	}
	return len(b), nil
}

// discarding is an answer that was taken over.
type discarding struct{ http.ResponseWriter }

// Header implements http.ResponseWriter.
func (discarding) Header() http.Header { return http.Header{} }
