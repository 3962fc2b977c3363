package storage

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"noid/internal/errs"
)

func TestWorkDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kernels")
	stale := filepath.Join(dir, workPrefix+"killed", "tree")
	if err := os.MkdirAll(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	work, done, err := WorkDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the leftover of a killed setup is there: %v", err)
	}
	if _, _, err := WorkDir(dir); !errors.Is(err, errs.ErrBusy) {
		t.Errorf("a second setup got %v, want ErrBusy", err)
	}
	done()
	if _, err := os.Stat(work); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the working directory is there: %v", err)
	}
	if _, done, err = WorkDir(dir); err != nil {
		t.Fatalf("after the first is done: %v", err)
	}
	done()
}
