package link

import (
	"bufio"
	"context"
	"net"
	"sync"
	"testing"

	"noid/internal/link/wire"
)

// greeting is what a scripted guest says first, where that is not the usual.
type greeting struct {
	*Client
	first *wire.Hello
}

func (g greeting) hello(_ *testing.T, h wire.Hello) { *g.first = h }

// scripted returns a client of a guest that says what a test wants, right or wrong: play gets each connection after the
// Hellos, with its number and its first request.
func scripted(t *testing.T, play func(n int, p *peer, req wire.Request)) greeting {
	var mu sync.Mutex
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	conns, first := 0, &wire.Hello{Version: wire.Version}
	serve := func(n int, conn net.Conn) {
		defer conn.Close()
		p := &peer{Conn: conn, in: wire.NewReader(bufio.NewReader(conn))}
		if _, err := p.in.Read(); err != nil || p.message(wire.TypeHello, first) != nil {
			return
		}
		f, err := p.in.Read()
		if err != nil {
			return
		}
		var req wire.Request
		if err := f.Decode(&req); err != nil {
			t.Errorf("request: %v", err)
			return
		}
		play(n, p, req)
	}
	dial := func(context.Context) (net.Conn, error) {
		host, guest := net.Pipe()
		mu.Lock()
		n := conns
		conns++
		mu.Unlock()
		wg.Go(func() { serve(n, guest) })
		return host, nil
	}
	return greeting{&Client{Dial: dial}, first}
}

// peer is the guest's end of a connection.
type peer struct {
	net.Conn
	in *wire.Reader
}

func (p *peer) message(t wire.Type, v any) error {
	b, err := wire.AppendMessage(nil, t, v)
	if err != nil {
		return err
	}
	_, err = p.Write(b)
	return err
}

func (p *peer) stream(t wire.Type, s wire.Stream, offset uint64, content string) error {
	_, err := p.Write(wire.AppendStream(nil, t, s, offset, []byte(content)))
	return err
}

// background reads until Done or the end of the connection, while the test writes: a net.Pipe holds nothing.
func (p *peer) background() (ended <-chan struct{}) {
	c := make(chan struct{})
	go func() {
		defer close(c)
		for {
			if f, err := p.in.Read(); err != nil || f.Type == wire.TypeDone {
				p.Close() // so that a write does not wait for a host that has left
				return
			}
		}
	}()
	return c
}
