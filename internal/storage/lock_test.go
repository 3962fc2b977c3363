package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"noid/internal/errs"
)

// TestLockPath waits for a holder, and locks what has the name after that.
func TestLockPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	first, err := LockPath(t.Context(), path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLockPath(path, os.O_RDWR); !errors.Is(err, errs.ErrBusy) {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := LockPath(ended, path, os.O_RDWR); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	got := make(chan *os.File)
	go func() {
		f, err := LockPath(t.Context(), path, os.O_RDWR|os.O_CREATE)
		if err != nil {
			t.Error(err)
		}
		got <- f
	}()
	if err := os.Rename(path, path+".done"); err != nil {
		t.Fatal(err)
	}
	Unlock(first)
	second := <-got
	if second == nil || !IsAt(second, path) {
		t.Error("a file that has another name is locked")
	}
	if _, err := TryLockPath(path, os.O_RDWR); !errors.Is(err, errs.ErrBusy) {
		t.Error(err)
	}
	Unlock(second)
	if _, err := TryLockPath(filepath.Join(path, "none"), os.O_RDONLY); errors.Is(err, errs.ErrBusy) || err == nil {
		t.Error(err)
	}
}
