package helper

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/proc"
)

const childEnv = "NOID_TEST_HELPER_CHILD"

// TestStart has a helper be present as soon as it is started, so that nobody starts another, and until it ends.
func TestStart(t *testing.T) {
	if os.Getenv(childEnv) != "" { // it is the helper
		mine, err := Lock(t.Context())
		if err != nil || !mine {
			t.Fatal(mine, err)
		}
		in, err := os.Open("fifo") // until the test ends it
		if err == nil {
			in.Read(make([]byte, 1))
		}
		return
	}
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(childEnv, "1")
	if Present(dir) {
		t.Fatal("a helper is there before the start")
	}
	if err := Start([]string{os.Args[0], "-test.run=^TestStart$"}, "driver", dir, proc.Process{}); err != nil {
		t.Fatal(err)
	}
	if !Present(dir) {
		t.Error("the helper is not there once it is started")
	}
	end, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits until it has the lock and reads
	if err != nil {
		t.Fatal(err)
	}
	if !Present(dir) {
		t.Error("the helper has lost its lock")
	}
	end.Close()
	for began := time.Now(); Present(dir); time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("the helper stays")
		}
	}
	t.Chdir(dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if mine, err := Lock(ctx); !mine || err != nil {
		t.Errorf("the next one: %t, %v", mine, err)
	}
}
