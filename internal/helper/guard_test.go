package helper

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"noid/internal/proc"
	"noid/internal/vmm"
)

// pausable is a driver whose guest stands still until it is let run.
type pausable struct {
	vmm.Driver
	paused atomic.Bool
	asked  atomic.Int32
}

func (d *pausable) LetRun(context.Context, string) (bool, error) {
	if d.asked.Add(1) == 2 {
		return false, errors.New("busy with a snapshot")
	}
	return !d.paused.Swap(false), nil
}

// newGuard has a helper guard the pauses of a VM in the current directory, and returns its driver and VMM.
func newGuard(t *testing.T) (*pausable, proc.Process) {
	t.Chdir(t.TempDir())
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := proc.Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if held, err := Lock(t.Context()); !held || err != nil {
		t.Fatal(held, err)
	}
	d := &pausable{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- guard{d, p}.serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		cmd.Process.Kill()
		cmd.Wait()
	})
	return d, p
}

func guarded(t *testing.T, p proc.Process) *Pause {
	t.Helper()
	pause, err := GuardPause(t.Context(), ".", p, func() error { return errors.New("there is a helper") })
	if err != nil || pause == nil {
		t.Fatal(pause, err)
	}
	return pause
}

// TestGuard ends pauses in each way that a noid can: only one that it ended itself is left alone, and the next begins
// after the one before is over.
func TestGuard(t *testing.T) {
	d, p := newGuard(t)
	pause := guarded(t, p)
	d.paused.Store(true)
	if err := pause.End(); err != nil || !d.paused.Load() || d.asked.Load() > 0 {
		t.Errorf("a pause that noid ended: %v; paused %t, looked at %d times", err, d.paused.Load(), d.asked.Load())
	}
	guarded(t, p).Close()
	if err := guarded(t, p).End(); err != nil || !d.paused.Load() {
		t.Errorf("noid hung up before it paused anything: %v, paused %t", err, d.paused.Load())
	}
	pause = guarded(t, p)
	pause.Begin()
	pause.Close()
	if err := guarded(t, p).End(); err != nil || d.paused.Load() {
		t.Errorf("noid hung up: %v, paused %t", err, d.paused.Load())
	}
	// One that stands still: it does not beat.
	silent, err := vmm.Dial(t.Context(), ".", GuardFile)
	if err != nil {
		t.Fatal(err)
	}
	word := make([]byte, 1)
	if _, err := silent.Read(word); err != nil || word[0] != granted {
		t.Fatalf("the helper's word is %q, %v", word, err)
	}
	went := &Pause{conn: silent, over: make(chan struct{})}
	went.Begin()
	d.paused.Store(true)
	for d.paused.Load() {
		if err := vmm.Sleep(t.Context(), lookWait); err != nil {
			t.Fatal(err)
		}
	}
	if err := went.End(); err == nil || !strings.Contains(err.Error(), "stood still") {
		t.Errorf("noid stood still and went on: %v", err)
	}
}

// lateConn is a connection whose every word comes at the last moment of its deadlines.
type lateConn struct {
	net.Conn
	writeBy time.Time
}

func (c *lateConn) SetDeadline(t time.Time) error {
	c.writeBy = t
	return c.Conn.SetDeadline(t)
}

func (c *lateConn) SetWriteDeadline(t time.Time) error {
	c.writeBy = t
	return c.Conn.SetWriteDeadline(t)
}

func (c *lateConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.writeBy.IsZero() {
		c.Conn.SetWriteDeadline(time.Unix(1, 0))
	}
	return n, err
}

// guardPair connects to a guard's socket in a directory of its own: noid's end, and the guard's.
func guardPair(t *testing.T) (client, conn *net.UnixConn) {
	t.Helper()
	t.Chdir(t.TempDir())
	l, err := vmm.Listen(GuardFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if client, err = vmm.Dial(t.Context(), ".", GuardFile); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if conn, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	return client, conn
}

// TestGuardLate: noid hears that its pause was kept, though it ends it when the helper's wait for a word is all but over.
func TestGuardLate(t *testing.T) {
	client, conn := guardPair(t)
	go func() {
		guard{d: &pausable{}}.session(t.Context(), &lateConn{Conn: conn})
		conn.Close()
	}()
	word := make([]byte, 1)
	if _, err := client.Read(word); err != nil || word[0] != granted {
		t.Fatalf("the helper's word is %q, %v", word, err)
	}
	if err := (&Pause{conn: client, over: make(chan struct{})}).End(); err != nil {
		t.Error(err)
	}
}

// TestGuardDistrusts has the VMM itself, which a guest may have taken over, be refused.
func TestGuardDistrusts(t *testing.T) {
	_, conn := guardPair(t)
	defer conn.Close()
	self, err := proc.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if vmm.Trusts(conn, self.PID) {
		t.Error("the VMM guards its own pauses")
	}
	if !vmm.Trusts(conn, 0) {
		t.Error("a noid is refused")
	}
}
