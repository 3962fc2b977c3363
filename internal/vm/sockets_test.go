package vm

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"noid/internal/network"
	"noid/internal/network/control"
)

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
