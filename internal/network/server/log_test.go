package server

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLogIsBounded writes more than the log may take: it stays one file, in which the last lines are where they were.
func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.log")
	first, err := os.Create(path)
	must(t, err)
	defer first.Close()
	if err := unix.Fallocate(int(first.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, logBlock); errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("NOT RUN: this file system has no holes")
	}
	l := openLog(path)
	line := Entry{Event: "refused", Why: strings.Repeat("x", 1000)}
	for i := range 5000 {
		if i == 2500 {
			l = openLog(path) // another helper's
		}
		l.write(line)
	}
	l.write(Entry{Event: "last"})
	info, err := first.Stat()
	must(t, err)
	if onDisk := info.Sys().(*syscall.Stat_t).Blocks * 512; onDisk > maxLog+2*logBlock || onDisk < keepLog/2 || info.Size() < 5000*1000 {
		t.Errorf("%d bytes on disk of %d", onDisk, info.Size())
	}
	data, err := os.ReadFile(path)
	must(t, err)
	if lines := bytes.Split(bytes.TrimSpace(data), []byte("\n")); !bytes.Contains(lines[len(lines)-1], []byte("last")) || !bytes.HasPrefix(lines[len(lines)-400], []byte("{")) {
		t.Errorf("it ends in %.100s", lines[len(lines)-1])
	}
}
