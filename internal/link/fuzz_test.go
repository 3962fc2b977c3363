package link

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"noid/internal/link/wire"
)

// recording is a connection on which a guest said all it has to say, whatever it is asked.
type recording struct {
	io.Reader
	once   sync.Once
	closed chan struct{}
}

func (r *recording) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}
func (r *recording) Write(b []byte) (int, error)      { return len(b), nil }
func (r *recording) Close() error                     { r.once.Do(func() { close(r.closed) }); return nil }
func (r *recording) LocalAddr() net.Addr              { return nil }
func (r *recording) RemoteAddr() net.Addr             { return nil }
func (r *recording) SetDeadline(time.Time) error      { return nil }
func (r *recording) SetReadDeadline(time.Time) error  { return nil }
func (r *recording) SetWriteDeadline(time.Time) error { return nil }

// FuzzExec gives the client's reading end arbitrary bytes. It must end, hand on no more than came, and return an exit
// that fits in a process's exit status.
func FuzzExec(f *testing.F) {
	hello, _ := wire.AppendMessage(nil, wire.TypeHello, wire.Hello{Version: wire.Version})
	session, _ := wire.AppendMessage(bytes.Clone(hello), wire.TypeReply, wire.Reply{})
	f.Add(hello)
	f.Add(session)
	whole := wire.AppendStream(bytes.Clone(session), wire.TypeData, wire.Stdout, 0, []byte("out"))
	whole = wire.AppendStream(whole, wire.TypeData, wire.Stderr, 0, []byte("err"))
	whole = wire.AppendStream(whole, wire.TypeAck, wire.Stdin, 0, nil)
	whole = wire.AppendStream(whole, wire.TypeEOF, wire.Stdout, 3, nil)
	whole, _ = wire.AppendMessage(whole, wire.TypeExit, wire.Exit{Code: 1})
	f.Add(whole)
	f.Add(wire.AppendStream(bytes.Clone(session), wire.TypeData, wire.Stdout, 1<<63, []byte("x")))
	refusal, _ := wire.AppendMessage(bytes.Clone(hello), wire.TypeReply, map[string]any{"error": "no", "jobs": []int{1}})
	f.Add(refusal)
	f.Fuzz(func(t *testing.T, data []byte) {
		dials := 0
		c := &Client{Alive: func() bool { return dials < 2 }, Dial: func(context.Context) (net.Conn, error) {
			dials++
			return &recording{Reader: bytes.NewReader(data), closed: make(chan struct{})}, nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var out, errw counter
		exit, err := c.Exec(ctx, wire.Exec{Argv: argv("x"), Stdin: true}, Streams{Out: &out, Err: &errw, In: bytes.NewReader([]byte("input"))})
		if ctx.Err() != nil {
			t.Error("it did not end")
		}
		if n := out.n.Load() + errw.n.Load(); n > 2*int64(len(data)) {
			t.Errorf("%d bytes of output out of %d", n, len(data))
		}
		if err == nil && (exit.Code < 0 || exit.Code > 255) {
			t.Errorf("exit code %d", exit.Code)
		}
	})
}
