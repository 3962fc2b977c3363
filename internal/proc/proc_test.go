package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
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
