package tarfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDescriptors writes to open files of the process, where they stand, as a command between two others does whose
// output goes to the same file.
func TestDescriptors(t *testing.T) {
	dir := t.TempDir()
	src, out, link := filepath.Join(dir, "src"), filepath.Join(dir, "out"), filepath.Join(dir, "link")
	write(t, src, "content\n")
	must(t, os.Truncate(src, 100<<10)) // and a hole
	must(t, os.Symlink("/dev/stdout", link))
	want := "head\ncontent\n" + strings.Repeat("\x00", 100<<10-8) + "tail\n"
	for _, dst := range []string{"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", link} {
		for _, recursive := range []bool{false, true} {
			f, err := os.Create(out)
			must(t, err)
			io.WriteString(f, "head\n")
			var stream, said bytes.Buffer
			_, err = Create(t.Context(), &stream, []string{src}, CreateOptions{Recursive: recursive})
			must(t, err)
			cmd := exec.Command(os.Args[0], ExtractArgs(dst, ExtractOptions{Name: "src", Recursive: recursive})...)
			cmd.Env = append(os.Environ(), "NOID_TEST_TOOL=1")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = &stream, f, &said
			if err := cmd.Run(); err != nil || said.Len() > 0 {
				t.Errorf("%s: %v %s", dst, err, &said)
			}
			io.WriteString(f, "tail\n")
			f.Close()
			if data, _ := os.ReadFile(out); string(data) != want {
				t.Errorf("%s: %d bytes, %.30q", dst, len(data), data)
			}
		}
	}
}

// TestOut writes into a FIFO and a device and leaves them what they are.
func TestOut(t *testing.T) {
	dir := t.TempDir()
	src, fifo := filepath.Join(dir, "src"), filepath.Join(dir, "fifo")
	write(t, src, "content")
	must(t, syscall.Mkfifo(fifo, 0o600))
	got := make(chan string)
	go func() {
		data, _ := os.ReadFile(fifo)
		got <- string(data)
	}()
	if stats, err := copyTree(t, src, fifo, ExtractOptions{}); err != nil || stats.Entries != 1 {
		t.Fatal(stats, err)
	}
	if data := <-got; data != "content" {
		t.Errorf("%q", data)
	}
	if _, err := copyTree(t, src, "/dev/null", ExtractOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := copyTree(t, src, "/dev/full", ExtractOptions{}); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	for _, name := range []string{fifo, "/dev/null", "/dev/full"} {
		if fi, err := os.Lstat(name); err != nil || fi.Mode().IsRegular() {
			t.Errorf("%s became a file: %v", name, err)
		}
	}
}

// TestOutCancelled ends though nobody reads a FIFO, or not on.
func TestOutCancelled(t *testing.T) {
	dir := t.TempDir()
	src, fifo := filepath.Join(dir, "src"), filepath.Join(dir, "fifo")
	write(t, src, strings.Repeat("x", 1<<20))
	must(t, syscall.Mkfifo(fifo, 0o600))
	var stream bytes.Buffer
	_, err := Create(t.Context(), &stream, []string{src}, CreateOptions{})
	must(t, err)
	for _, reads := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := Extract(ctx, bytes.NewReader(stream.Bytes()), fifo, ExtractOptions{Name: "src"})
			ended <- err
		}()
		if reads {
			f, err := os.Open(fifo)
			must(t, err)
			defer f.Close()
			_, err = io.ReadFull(f, make([]byte, 100))
			must(t, err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(reads, err)
		}
	}
	f, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0) // lets the first open go
	must(t, err)
	f.Close()
}

// TestHostileOut gives a device one file and no more, and no link's.
func TestHostileOut(t *testing.T) {
	for _, entries := range [][]tar.Header{{file("f"), file("f")}, {dir("f"), file("f/x")}, {symlink("f", "/etc/passwd")}} {
		if _, err := Extract(t.Context(), archive(t, entries...), "/dev/null", ExtractOptions{Name: "f", Recursive: true}); err == nil {
			t.Errorf("%v was taken", entries)
		}
		if fi, err := os.Lstat("/dev/null"); err != nil || fi.Mode()&os.ModeCharDevice == 0 {
			t.Fatal("/dev/null is no more", err)
		}
	}
}
