package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"noid/internal/errs"
)

// server answers each connection with what reply makes of the request's line, and reports how each ends.
func server(t *testing.T, reply func(line string) string) (Client, chan error) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	ended := make(chan error, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				line, _ := in.ReadString('\n')
				io.WriteString(conn, reply(line))
				_, err := in.ReadByte()
				ended <- err
			}()
		}
	}()
	return Client{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", l.Addr().String())
	}}, ended
}

func TestAsk(t *testing.T) {
	c, ended := server(t, func(line string) string {
		var r Request
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return `{"error":"` + err.Error() + `"}`
		}
		switch r.Op {
		case Reload:
			return `{"ports":[{"proto":"tcp","host":"[::1]:80","guest":8080,"problem":"taken"}],"cut":3}`
		case Status:
			return `{"error":"no"}`
		}
		return "\x00"
	})
	a, err := c.Ask(t.Context(), Request{Op: Reload})
	if err != nil || a.Cut != 3 || len(a.Ports) != 1 || a.Ports[0].Guest != 8080 || a.Ports[0].Problem != "taken" || a.Ports[0].Host.String() != "[::1]:80" {
		t.Errorf("%+v, %v", a, err)
	}
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("the connection of Ask: %v", err)
	}
	if _, err := c.Ask(t.Context(), Request{Op: Status}); err == nil || err.Error() != "no" {
		t.Errorf("a refusal: %v", err)
	}
	if _, err := c.Ask(t.Context(), Request{Op: Flows}); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("nonsense: %v", err)
	}
	<-ended
	<-ended
	_, conn, err := c.Hold(t.Context(), Request{Op: Reload})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("the connection of Hold has ended: %v", err)
	default:
	}
	conn.Close()
	<-ended
}

// TestWaits: a helper that starts is waited for, one that is silent is not for ever.
func TestWaits(t *testing.T) {
	c, _ := server(t, func(string) string { return "{}" })
	tries := 0
	dial := c.Dial
	c.Dial = func(ctx context.Context) (net.Conn, error) {
		if tries++; tries < 3 {
			return nil, errors.New("not yet")
		}
		return dial(ctx)
	}
	if _, err := c.Ask(t.Context(), Request{Op: Status}); err != nil || tries != 3 {
		t.Errorf("after %d tries: %v", tries, err)
	}
	silent := Client{Dial: func(context.Context) (net.Conn, error) {
		ours, _ := net.Pipe()
		return ours, nil
	}}
	for name, c := range map[string]Client{"silent": silent, "not there": {Dial: func(context.Context) (net.Conn, error) { return nil, io.EOF }}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := c.Ask(ctx, Request{Op: Status}); !errors.Is(err, errs.ErrTimeout) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}
