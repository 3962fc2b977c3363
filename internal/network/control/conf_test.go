package control

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestConf reads a file by another process' eyes: as it is now, cut where it is long, and not at all when there is none.
func TestConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	ours, theirs, err := ConfPipe(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	fd, err := unix.Dup(int(theirs.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	c := NewConf(fd)
	theirs.Close()
	if text, err := c.Read(); err == nil {
		t.Errorf("what is not there: %q", text)
	}
	for _, text := range []string{"nameserver 1.1.1.1\n", strings.Repeat("# long\n", maxConf)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		want := text[:min(len(text), maxConf-1)]
		if got, err := c.Read(); err != nil || string(got) != want {
			t.Errorf("%d bytes, want %d: %v", len(got), len(want), err)
		}
	}
	ours.Close()
	if _, err := c.Read(); err == nil {
		t.Error("it is read by nobody")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := NewConf(int(null.Fd())).Read(); err == nil {
		t.Error("it is read by a device")
	}
}
