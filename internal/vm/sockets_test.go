package vm

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"noid/internal/errs"
	"noid/internal/network"
	"noid/internal/network/control"
)

// TestAddSocketsEarly adds a socket while the network helper has no broker yet. One whose path is taken is not tried again.
func TestAddSocketsEarly(t *testing.T) {
	w := newWorld(t)
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true, Net: NetOptions{Network: "open"}}))
	var asked atomic.Int32
	var problem atomic.Value
	problem.Store(control.NoBroker)
	w.netHelper("a", func(_ control.Request, c network.Config) (a control.Answer) {
		if n := asked.Add(1); problem.Load() != control.NoBroker || n < 3 {
			for _, s := range c.Sockets {
				a.Sockets = append(a.Sockets, control.Socket{Socket: s, Problem: problem.Load().(string)})
			}
		}
		return a
	})
	one := network.Socket{Host: filepath.Join(t.TempDir(), "one"), Guest: "/run/one"}
	must(t, w.m.AddSockets(t.Context(), "a", []network.Socket{one}))
	if got := w.net("a").Sockets; asked.Load() != 3 || !slices.Equal(got, []network.Socket{one}) {
		t.Errorf("asked %d times, it has %v", asked.Load(), got)
	}
	asked.Store(0)
	problem.Store("address already in use")
	two := network.Socket{Host: filepath.Join(t.TempDir(), "two"), Guest: "/run/two"}
	if err := w.m.AddSockets(t.Context(), "a", []network.Socket{two}); !errors.Is(err, errs.ErrBusy) {
		t.Errorf("a taken one: %v", err)
	}
	if got := w.net("a").Sockets; asked.Load() != 2 || !slices.Equal(got, []network.Socket{one}) { // and once that it is not
		t.Errorf("a taken one: asked %d times, it has %v", asked.Load(), got)
	}
}

// TestForwardSocketBound lets go who comes to a socket while as many as may are being led to the guest.
func TestForwardSocketBound(t *testing.T) {
	w := newWorld(t)
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true, Net: NetOptions{Network: "open"}}))
	ctx, stop := context.WithCancel(t.Context())
	w.netHelper("a", func(control.Request, network.Config) control.Answer { <-ctx.Done(); return control.Answer{} })
	ended := make(chan error, 1)
	ready := make(chan network.Socket, 1)
	socket := network.Socket{Host: filepath.Join(t.TempDir(), "s"), Guest: "/run/s"}
	go func() { ended <- w.m.ForwardSocket(ctx, "a", socket, func(s network.Socket) { ready <- s }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	for range maxComing {
		c, err := net.Dial("unix", socket.Host)
		must(t, err)
		defer c.Close()
	}
	c, err := net.Dial("unix", socket.Host)
	must(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("one more: %v", err)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
