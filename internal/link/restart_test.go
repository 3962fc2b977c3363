package link

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"noid/internal/agent"
	"noid/internal/errs"
)

// agentAt runs an agent that listens at path.
func agentAt(t *testing.T, path string) *agent.Server {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &agent.Server{Release: "test"}
	go s.Serve(l)
	t.Cleanup(s.Close)
	return s
}

// TestAgentRestarts has the agent die under a command and another take its place: Exec ends, and says why.
func TestAgentRestarts(t *testing.T) {
	dir := t.TempDir()
	var path atomic.Value
	path.Store(filepath.Join(dir, "1"))
	c := &Client{Dial: func(context.Context) (net.Conn, error) { return net.Dial("unix", path.Load().(string)) }}
	first := agentAt(t, filepath.Join(dir, "1"))
	agentAt(t, filepath.Join(dir, "2"))
	_, err := c.Exec(limited(t, time.Minute), sh("sleep 1000"), Streams{Started: func() {
		path.Store(filepath.Join(dir, "2"))
		go first.Close()
	}})
	if !errors.Is(err, errs.ErrState) || !strings.Contains(err.Error(), "agent was killed") {
		t.Errorf("Exec: %v", err)
	}
}

// TestSignalWithoutAgent has the agent fall silent under a command: a signal, which cannot reach that, ends Exec.
func TestSignalWithoutAgent(t *testing.T) {
	c := guest(t, nil)
	dial := c.Dial
	var gone atomic.Bool
	c.Dial = func(ctx context.Context) (net.Conn, error) {
		if gone.Load() {
			return nil, syscall.ECONNREFUSED
		}
		return dial(ctx)
	}
	signals := make(chan int, 1)
	_, err := c.Exec(limited(t, time.Minute), sh("trap '' TERM; echo deaf; sleep 1000 & wait"), Streams{Signals: signals, Out: onWrite(func() {
		gone.Store(true)
		signals <- int(syscall.SIGTERM)
	})})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("Exec: %v", err)
	}
}

// onWrite is a writer that calls a function.
type onWrite func()

func (w onWrite) Write(b []byte) (int, error) {
	w()
	return len(b), nil
}
