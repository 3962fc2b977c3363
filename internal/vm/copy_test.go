package vm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"noid/internal/errs"
	"noid/internal/link/tarfs"
	"noid/internal/link/wire"
)

func newCopying() (*copying, *bytes.Buffer) {
	said := &bytes.Buffer{}
	return &copying{o: CopyOptions{Warn: func(s string) { said.WriteString(s + "\n") }}}, said
}

// TestCopyRun connects sources and sinks that fail at different times: the first error is the one that is told.
func TestCopyRun(t *testing.T) {
	boom, full := errors.New("boom"), errors.New("disk full")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "src"), bytes.Repeat([]byte("x"), 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	create := func(ctx context.Context, w io.Writer) error {
		_, err := tarfs.Create(ctx, w, []string{filepath.Join(dir, "src")}, tarfs.CreateOptions{})
		return err
	}
	extract := func(ctx context.Context, r io.Reader) error {
		_, err := tarfs.Extract(ctx, r, filepath.Join(dir, "dst"), tarfs.ExtractOptions{Name: "src"})
		return err
	}
	for _, tt := range []struct {
		name   string
		source func(context.Context, io.Writer) error
		sink   func(context.Context, io.Reader) error
		want   error
	}{
		{"all well", create, extract, nil},
		{"the source fails at once", func(context.Context, io.Writer) error { return boom }, extract, boom},
		{"the source fails in the middle", func(ctx context.Context, w io.Writer) error {
			r, part := io.Pipe()
			go create(ctx, part)
			io.CopyN(w, r, 300<<10)
			r.Close()
			return boom
		}, extract, boom},
		{"the source fails at the end", func(ctx context.Context, w io.Writer) error { return errors.Join(create(ctx, w), boom) }, extract, boom},
		{"the sink fails at once", create, func(context.Context, io.Reader) error { return full }, full},
		{"the sink fails in the middle", create, func(_ context.Context, r io.Reader) error {
			io.CopyN(io.Discard, r, 1000)
			return full
		}, full},
		{"the source waits for the end", func(ctx context.Context, w io.Writer) error {
			<-ctx.Done()
			return ctx.Err()
		}, func(context.Context, io.Reader) error { return full }, full},
	} {
		c, _ := newCopying()
		os.Remove(filepath.Join(dir, "dst"))
		if err := c.run(t.Context(), tt.source, tt.sink); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		if hidden, _ := filepath.Glob(filepath.Join(dir, ".*")); len(hidden) > 0 || tt.want != nil && tt.name != "the source fails at the end" && len(names) != 1 {
			t.Errorf("%s left %v %v", tt.name, names, hidden)
		}
	}
}

// TestToolEnded turns what a guest's tool says into warnings, errors and their kinds, harmless for a terminal and
// bounded.
func TestToolEnded(t *testing.T) {
	for _, tt := range []struct {
		name    string
		exit    wire.Exit
		said    string
		want    string // of the error
		kind    error
		warned  string
		partial bool
	}{
		{name: "well"},
		{name: "warnings", exit: wire.Exit{Code: 1}, said: "warning: \"f\" is a FIFO: skipped\n", warned: "in vm \"dev\": \"f\" is a FIFO: skipped\n", partial: true},
		{name: "failed without a word", exit: wire.Exit{Code: 1}, want: "exit code 1"},
		{name: "an error", exit: wire.Exit{Code: 1}, said: "error: no \x1b[2Jspace\n", want: `no \x1b[2Jspace`},
		{name: "an error though the code is 0", said: "error: lost\n", want: "lost"},
		{name: "no newline", exit: wire.Exit{Code: 3}, said: "error: no such file", want: "no such file", kind: errs.ErrNotFound},
		{name: "directory", exit: wire.Exit{Code: 2}, said: "error: \"x\" is a directory\n", want: "is a directory", kind: errs.ErrUsage},
		{name: "killed", exit: wire.Exit{Code: 137, Signal: 9}, want: "exit code 137"},
		{name: "not there", exit: wire.Exit{Code: 127, Error: "no tool"}, want: "no tool"},
	} {
		c, out := newCopying()
		said := &toolErrors{warn: c.warner(`in vm "dev": `)}
		for _, b := range []byte(tt.said) { // in the smallest pieces
			said.Write([]byte{b})
		}
		err := c.toolEnded("dev", tt.exit, said)
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || tt.kind != nil && !errors.Is(err, tt.kind)) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if out.String() != tt.warned || c.partial != tt.partial {
			t.Errorf("%s: said %q, partial %v", tt.name, out, c.partial)
		}
	}
	c, out := newCopying()
	said := &toolErrors{warn: c.warner("")}
	for range 10000 {
		said.Write(bytes.Repeat([]byte("x"), 1000))
	}
	if len(said.line) > 2*tarfs.MaxLine {
		t.Errorf("a line of %d bytes is held", len(said.line))
	}
	said.Write([]byte(strings.Repeat("\nwarning: w", 10000)))
	if lines := strings.Count(out.String(), "\n"); lines != tarfs.MaxWarnings || out.Len() > 16<<10 {
		t.Errorf("%d lines, %d bytes", lines, out.Len())
	}
}

func TestCheckCopy(t *testing.T) {
	place := func(s string) Place {
		if s == "-" {
			return Place{Path: s, In: os.Stdin, Out: os.Stdout}
		}
		if name, path, ok := strings.Cut(s, ":"); ok {
			return Place{VM: name, Path: path}
		}
		return Place{Path: s}
	}
	for _, tt := range []struct {
		srcs, dst string
		text      string // "" when it is fine
	}{
		{"a", "dev:/a", ""},
		{"dev:/a", "a", ""},
		{"dev:/a", "other:/a", ""},
		{"dev:/a", "dev:/b", ""},
		{"dev:/a", "dev:/ab", ""},
		{"-", "dev:/a", ""},
		{"dev:/a", "-", ""},
		{"a", "b", "neither"},
		{"-", "b", "neither"},
		{"a", "-", "neither"},
		{"dev:/a", "dev:/a/b", "in it"},
		{"dev:/a/.", "dev:/a/../a/b", "in it"},
		{"dev:/", "dev:/backup", "in it"},
		{"dev:/a", "dev:/a/", "in it"},
		{"a b/c", "dev:/d", ""},
		{"dev:/a dev:/b", "d", ""},
		{"a/. b/. c", "dev:/d", ""},
		{"a/x b/x", "dev:/d", "both be called"},
		{"dev:/a other:/b", "d", "not in one place"},
		{"dev:/a b", "dev:/d", "not in one place"},
		{"a -", "dev:/d", "one source"},
		{"dev:/a dev:/b", "-", "one source"},
		{"dev:/b dev:/a", "dev:/a/d", "in it"},
	} {
		var srcs []Place
		for src := range strings.FieldsSeq(tt.srcs) {
			srcs = append(srcs, place(src))
		}
		err := checkCopy(srcs, place(tt.dst))
		if tt.text == "" && err != nil || tt.text != "" && (!errors.Is(err, errs.ErrUsage) || !strings.Contains(err.Error(), tt.text)) {
			t.Errorf("%s to %s: %v", tt.srcs, tt.dst, err)
		}
	}
}

// TestSendTar refuses what is compressed, and passes on everything else as it is.
func TestSendTar(t *testing.T) {
	for head, name := range map[string]string{
		"\x1f\x8b\x08\x00":      "gzip",
		"\x28\xb5\x2f\xfd\x04":  "zstd",
		"\xfd7zXZ\x00\x00":      "xz",
		"\x04\x22\x4d\x18\x64":  "lz4",
		"BZh91AY&SY\x12":        "bzip2",
		"BZh9 is a file's name": "",
		"f":                     "",
	} {
		var out bytes.Buffer
		err := sendTar(&out, strings.NewReader(head))
		switch {
		case name == "" && (err != nil || out.String() != head):
			t.Errorf("%q: %v, %q", head, err, &out)
		case name != "" && (!errors.Is(err, errs.ErrUsage) || !strings.Contains(errs.Hint(err), name+" -dc") || out.Len() > 0):
			t.Errorf("%q: %v", head, err)
		}
	}
	if err := sendTar(io.Discard, strings.NewReader("")); err == nil {
		t.Error("nothing is taken for a tar")
	}
}
