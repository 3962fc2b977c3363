package mux

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// counted counts the writes to a port.
type counted struct {
	io.ReadWriteCloser
	writes atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.ReadWriteCloser.Write(b)
}

type countedConn struct {
	net.Conn
	count *counted
}

func (c countedConn) Write(b []byte) (int, error) { return c.count.Write(b) }

// TestJoined has no write to the port be of a header alone, in either direction: to an emulated guest each is dear.
func TestJoined(t *testing.T) {
	p := newTestPort(t)
	guest := &counted{ReadWriteCloser: p.guest()}
	l := Listen(guest)
	t.Cleanup(func() { l.Close() })
	raw := p.host(t)
	host := &counted{ReadWriteCloser: raw}
	s, err := Connect(limit(t), countedConn{raw, host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c := open(t, s)
	const frames, size = 20, 10_000 // less than a window: nothing is to be acknowledged
	data := bytes.Repeat([]byte("x"), size)
	send := func(from, to net.Conn, count *counted) {
		t.Helper()
		before := count.writes.Load()
		got := make([]byte, size)
		for range frames {
			if _, err := from.Write(data); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(to, got); err != nil {
				t.Fatal(err)
			}
		}
		if n := count.writes.Load() - before; n > frames+frames/2 {
			t.Errorf("%d frames in %d writes", frames, n)
		}
	}
	if _, err := c.Write([]byte("y")); err != nil {
		t.Fatal(err)
	}
	g, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(g, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	send(c, g, host)
	send(g, c, guest)
}
