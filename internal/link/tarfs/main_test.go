package tarfs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTools runs the two tools as a pipe, as host and guest do.
func TestTools(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "-a b\n"), t.TempDir()
	write(t, filepath.Join(src, "x"), "content")
	var stream, said bytes.Buffer
	if code := Main(CreateArgs(CreateOptions{Recursive: true}, src), nil, &stream, &said); code != 0 || said.Len() > 0 {
		t.Fatalf("%d %s", code, &said)
	}
	if code := Main(ExtractArgs(dst, ExtractOptions{Recursive: true, Name: BaseName(src)}), &stream, nil, &said); code != 0 || said.Len() > 0 {
		t.Fatalf("%d %s", code, &said)
	}
	if data, err := os.ReadFile(filepath.Join(dst, "-a b\n", "x")); string(data) != "content" {
		t.Errorf("%q %v", data, err)
	}
}

func TestToolErrors(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		args []string
		code int
		text string
	}{
		{nil, ExitUsage, "no tool"},
		{[]string{"tar-list", "x"}, ExitUsage, "no tool"},
		{[]string{CreateTool}, ExitUsage, "0 arguments"},
		{[]string{CreateTool, "-x"}, ExitUsage, "-x"},
		{CreateArgs(CreateOptions{}, dir), ExitUsage, "is a directory"},
		{CreateArgs(CreateOptions{}, dir+"/new\nline"), ExitNotFound, "no such file"},
		{CreateArgs(CreateOptions{Plain: true}, "/dev/null"), ExitFailed, "is a device"},
		{ExtractArgs(dir+"/no/x", ExtractOptions{Name: "x"}), ExitNotFound, "no such file"},
		{ExtractArgs(dir, ExtractOptions{Name: "y"}), ExitFailed, "more than the file"},
		{ExtractArgs(dir+"/"+strings.Repeat("n", 3000), ExtractOptions{Name: "x"}), ExitFailed, "..."},
	} {
		var out, said bytes.Buffer
		code := Main(tt.args, archive(t, file("x")), &out, &said)
		line, more, _ := strings.Cut(said.String(), "\n")
		if code != tt.code || !strings.HasPrefix(line, ErrorPrefix) || !strings.Contains(line, tt.text) || more != "" || len(line) > MaxLine+50 {
			t.Errorf("%.100q: %d, %.200q", tt.args, code, &said)
		}
	}
}

// TestManyWarnings bounds what a tool says.
func TestManyWarnings(t *testing.T) {
	dir := t.TempDir()
	for i := range MaxWarnings + 7 {
		name := strings.Repeat("x", i+1)
		write(t, filepath.Join(dir, "src", name), "x")
		must(t, os.MkdirAll(filepath.Join(dir, "dst", "src", name), 0o755)) // a directory is not replaced by a file
	}
	var stream, said bytes.Buffer
	if code := Main(CreateArgs(CreateOptions{Recursive: true}, filepath.Join(dir, "src")), nil, &stream, &said); code != 0 {
		t.Fatal(code, said.String())
	}
	code := Main(ExtractArgs(filepath.Join(dir, "dst"), ExtractOptions{Recursive: true, Name: "src"}), &stream, nil, &said)
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if code != ExitFailed || len(lines) != MaxWarnings+1 || lines[MaxWarnings] != WarningPrefix+"and 7 more" {
		t.Errorf("%d, %d lines, the last %q", code, len(lines), lines[len(lines)-1])
	}
}
