package proc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestIn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	p, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !p.In(dir) {
		t.Error("it is not in its directory")
	}
	moved := filepath.Join(t.TempDir(), "b")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if !p.In(moved) || p.In(dir) || p.In(t.TempDir()) {
		t.Errorf("after a rename: %v %v %v", p.In(moved), p.In(dir), p.In(t.TempDir()))
	}
}

// TestWait: the end of a process is seen, whoever's child it is, and the wait ends with ctx.
func TestWait(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it lives: %v", err)
	}
	ended := make(chan error)
	go func() { ended <- p.Wait(t.Context()) }()
	if err := p.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil || p.Alive() { // a zombie is as good as gone
		t.Errorf("after its end: %v, alive: %v", err, p.Alive())
	}
	cmd.Wait()
	if err := p.Wait(t.Context()); err != nil {
		t.Errorf("of a process that is gone: %v", err)
	}
}
