package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/link/mux"
	"noid/internal/vmm"
)

// The helper looks whether HeldFile is gone after heldMin, then after ever longer times up to heldMax.
const (
	heldMin = 2 * time.Millisecond
	heldMax = 200 * time.Millisecond
)

// serveAgent is the work of the VM's helper for QEMU: it holds the guest's port and serves the agent's connections on
// AgentFile until ctx ends. It works in the current directory, by relative names alone: an in-place restore exchanges
// the directory, and this one goes on serving its own VM. Without a port there is nothing to do.
//
// A snapshot takes devices and memory one after the other, while QEMU goes on moving the port's bytes into and out of
// the memory of the paused guest. So before one, Snapshot makes HeldFile and connects to HelperFile; the helper leaves
// the port alone, says so with a byte, and goes on when the file is gone, as it is after a resume.
func serveAgent(ctx context.Context) error {
	if !hasPort(".") {
		return nil
	}
	control, err := vmm.Listen(HelperFile)
	if err != nil {
		return err
	}
	defer os.Remove(HelperFile)
	agent, err := vmm.Listen(AgentFile)
	if err != nil {
		control.Close()
		return err
	}
	defer os.Remove(AgentFile)
	var h holder
	var all sync.WaitGroup
	defer all.Wait()
	defer control.Close()
	all.Go(func() { h.serve(ctx, control) })
	mux.Serve(ctx, h.dial, agent)
	return nil
}

// holder holds and releases the port.
type holder struct {
	mu   sync.Mutex
	port *mux.Port // the newest, or nil
}

// dial connects to the port, once it is not held.
func (h *holder) dial(ctx context.Context) (net.Conn, error) {
	if err := awaitRelease(ctx); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if held() { // since: the next try waits
		return nil, errors.New("the port is held")
	}
	conn, err := vmm.Dial(ctx, ".", PortFile)
	if err != nil {
		return nil, err
	}
	h.port = mux.NewPort(conn)
	return h.port, nil
}

func held() bool {
	_, err := os.Lstat(HeldFile)
	return err == nil
}

func awaitRelease(ctx context.Context) error {
	for pause := heldMin; held(); pause = min(pause*5/4, heldMax) {
		if err := vmm.Sleep(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

// serve holds the port for each client of the control socket, one after the other.
func (h *holder) serve(ctx context.Context, control *net.UnixListener) {
	for {
		client, err := control.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || vmm.Sleep(ctx, heldMin) != nil {
				return
			}
			continue
		}
		if err := h.hold(ctx); err == nil {
			client.SetDeadline(time.Now().Add(time.Second))
			client.Write([]byte{'h'})
		}
		client.Close()
	}
}

// hold holds the port; it is released when HeldFile is gone.
func (h *holder) hold(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.port == nil {
		return nil
	}
	port := h.port
	limit, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	err := port.Hold(limit)
	go h.release(ctx, port)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EBADF) {
		return nil // it is gone: the next one waits in dial
	}
	if err != nil {
		return fmt.Errorf("holding the port: %w", err)
	}
	return nil
}

// release releases the port when HeldFile is gone. It may be there again at once, for the next snapshot: that is looked
// at under the lock, under which the next hold comes after.
func (h *holder) release(ctx context.Context, port *mux.Port) {
	for awaitRelease(ctx) == nil {
		h.mu.Lock()
		again := held()
		if !again {
			port.Release()
		}
		h.mu.Unlock()
		if !again {
			return
		}
	}
}
