package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// punched makes a log of size bytes whose first hole bytes are gone, or skips.
func punched(t *testing.T, size, hole int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "serial.log")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), int(size)), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if hole > 0 {
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, hole)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("NOT RUN: this file system has no holes")
	} else if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCopyLogSkipsHoles(t *testing.T) {
	path := punched(t, 3*65536+5, 2*65536)
	f, _ := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	f.WriteString("\x00own NUL") // the guest's own is data
	f.Close()
	var out bytes.Buffer
	if err := CopyLog(t.Context(), &out, path, -1, false, nil); err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("x", 65536+5) + "\x00own NUL"; out.String() != want {
		t.Errorf("got %d bytes ending in %q", out.Len(), out.Bytes()[max(0, out.Len()-20):])
	}
}

func TestCopyLogFollows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "serial.log")
	write := func(flags int, text string) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.WriteString(text)
	}
	write(0, "first\n")
	steps := []func(){
		func() { write(os.O_APPEND, "second\n") },
		func() { write(os.O_TRUNC, "new\n") },
		func() { write(os.O_APPEND, "last words\n") },
	}
	var out bytes.Buffer
	// alive is asked when all there is has been copied: the moment for the next step.
	alive := func() bool {
		steps[0]()
		steps = steps[1:]
		return len(steps) > 0
	}
	if err := CopyLog(t.Context(), &out, path, -1, true, alive); err != nil {
		t.Fatal(err)
	}
	if want := "first\nsecond\nnew\nlast words\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := writerFunc(func(data []byte) (int, error) { cancel(); return len(data), nil })
	if err := CopyLog(ctx, w, path, -1, true, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

// TestCopyLogLast copies the last lines of logs of all kinds.
func TestCopyLogLast(t *testing.T) {
	long := strings.Repeat("x", 40<<10) // more than is read at once
	for _, tt := range []struct {
		log  string
		last int
		want string
	}{
		{"a\nb\nc\n", 2, "b\nc\n"},
		{"a\nb\nc", 2, "b\nc"}, // an unfinished line
		{"a\nb\n\n", 2, "b\n\n"},
		{"a\nb\n", 2, "a\nb\n"},
		{"a\nb\n", 9, "a\nb\n"},
		{"a\nb\n", 0, ""},
		{"a\nb\n", -1, "a\nb\n"},
		{"", 1, ""},
		{"\n", 1, "\n"},
		{"first\n" + long + "\n" + long, 2, long + "\n" + long},
		{long + "\n" + long + "\n", 1, long + "\n"},
	} {
		path := filepath.Join(t.TempDir(), "serial.log")
		if err := os.WriteFile(path, []byte(tt.log), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := CopyLog(t.Context(), &out, path, tt.last, false, nil); err != nil || out.String() != tt.want {
			t.Errorf("the last %d of %.20q are %.20q, %v", tt.last, tt.log, out.String(), err)
		}
	}
	// What was removed is not read: a log that was a terabyte long is as quick as another.
	path := punched(t, 3*65536, 2*65536)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const length = 1 << 40
	if _, err := f.WriteAt([]byte("the end\n"), length); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, length); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := CopyLog(t.Context(), &out, path, 5, false, nil); err != nil || out.String() != "the end\n" {
		t.Errorf("a log with a long hole: %q, %v", out.String(), err)
	}
}

func TestLogsOpenNothingElse(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	os.WriteFile(secret, bytes.Repeat([]byte("s"), 100), 0o600)
	link := filepath.Join(dir, "link")
	os.Symlink(secret, link)
	fifo := filepath.Join(dir, "fifo")
	unix.Mkfifo(fifo, 0o600)
	for _, path := range []string{link, fifo, dir, filepath.Join(dir, "absent")} {
		if err := CopyLog(t.Context(), io.Discard, path, -1, false, nil); err == nil {
			t.Errorf("CopyLog read %s", path)
		}
		if err := boundLogOnce(path, 0, 0); err == nil {
			t.Errorf("boundLogOnce took %s", path)
		}
	}
	if data, _ := os.ReadFile(secret); len(data) != 100 {
		t.Error("the link's target was changed")
	}
}

func TestGuard(t *testing.T) {
	onDisk := func(path string) int64 {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	path := punched(t, 17<<20, 65536)
	once := true
	alive := func() bool { defer func() { once = false }(); return once }
	if err := BoundLog(t.Context(), path, alive); err != nil { // 16.9 MiB: over the limit
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != 17<<20 {
		t.Fatalf("size changed: %v, %v", info, err)
	}
	if d := onDisk(path); d < guardKeep || d > guardKeep+1<<20 {
		t.Errorf("%d bytes on disk, want about %d", d, guardKeep)
	}
	var out bytes.Buffer
	if err := CopyLog(t.Context(), &out, path, -1, false, nil); err != nil {
		t.Fatal(err)
	}
	if strings.Trim(out.String(), "x") != "" || out.Len() < guardKeep {
		t.Errorf("%d bytes are left, not all of them x", out.Len())
	}

	small := punched(t, 1<<20, 0)
	before := onDisk(small)
	if err := boundLogOnce(small, guardLimit, guardKeep); err != nil || onDisk(small) != before {
		t.Errorf("a small log was touched: %v", err)
	}
}
