package files

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMain's tool, as a guest runs it: what it answers, and how it ends.
func TestTool(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("file"), []byte("0123456789"), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Symlink("file", at("link")), os.Mkdir(at("full"), 0o700), os.WriteFile(at("full/\xff"), nil, 0o600), syscall.Mkfifo(at("fifo"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	run := func(code int, args []string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := Main(args[1:], &out, &errs); got != code || (code != 0) != strings.HasPrefix(errs.String(), ErrorPrefix) {
			t.Errorf("%q: %d, not %d: %s", args, got, code, errs.String())
		}
		return out.String()
	}
	var i Info
	if text := run(0, StatArgs(at("link"))); json.Unmarshal([]byte(text), &i) != nil || i.Type != "symlink" || i.Target != "file" {
		t.Errorf("stat: %s", text)
	}
	for _, c := range []struct {
		offset, length int64
		want           string
	}{{0, -1, "0123456789"}, {2, 3, "234"}, {-3, -1, "789"}, {-30, -1, "0123456789"}, {9, 100, "9"}, {10, -1, ""}, {100, 1, ""}, {0, 0, ""}} {
		var p Part
		head, body, _ := strings.Cut(run(0, ReadArgs(at("link"), c.offset, c.length)), "\n")
		if json.Unmarshal([]byte(head), &p) != nil || body != c.want || p.Length != int64(len(body)) || p.Size != 10 || p.Mode != 0o640 {
			t.Errorf("%d, %d: %s, %q", c.offset, c.length, head, body)
		}
	}
	if text := run(0, ReadArgs("/proc/self/status", 0, -1)); !strings.Contains(text, "Name:") {
		t.Errorf("a file of /proc: %s", text)
	}
	if text := run(0, ListArgs(at("full"), 10)); json.Unmarshal([]byte(text), &i) != nil || string(i.Raw) != "\xff" {
		t.Errorf("list: %s", text)
	}
	if text := run(0, ListArgs(dir, 2)); strings.Count(text, "\n") != 2 {
		t.Errorf("two of a list: %s", text)
	}
	run(0, MkdirArgs(at("a"), 0o777, false))
	if info, err := os.Stat(at("a")); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("made: %v, %v", info, err)
	}
	run(0, MkdirArgs(at("a/b/c"), 0o755, true))
	run(0, MkdirArgs(at("a/b/c"), 0o755, true))
	run(0, RenameArgs(at("a"), at("d")))
	run(0, RemoveArgs(at("d"), true))
	run(0, RemoveArgs(at("link"), false))
	for _, c := range []struct {
		code int
		args []string
	}{{ExitNotFound, StatArgs(at("none"))}, {ExitNotFound, RemoveArgs(at("none"), true)}, {ExitNotFound, ReadArgs(at("none"), 0, 1)}, {ExitNotFound, MkdirArgs(at("x/y"), 0o700, false)},
		{ExitExists, MkdirArgs(at("full"), 0o700, false)}, {ExitState, RemoveArgs(at("full"), false)}, {ExitState, ReadArgs(dir, 0, 1)}, {ExitState, ReadArgs(at("fifo"), 0, 1)},
		{ExitState, ListArgs(at("file"), 1)}, {ExitState, RenameArgs(at("full"), at("file"))}, {ExitState, MkdirArgs(at("file/x"), 0o700, true)},
		{ExitUsage, StatArgs("file")}, {ExitUsage, StatArgs("")}, {ExitUsage, RenameArgs(at("file"), "x")}, {ExitUsage, []string{Tool}}, {ExitUsage, []string{Tool, "mkdir", at("y"), "9", "true"}},
		{ExitUsage, StatArgs(at(strings.Repeat("x", 300)))}} {
		run(c.code, c.args)
	}
}
