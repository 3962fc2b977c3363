package e2e

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCopyAsCp holds cp against what cp and scp do: with files that are there, pipes, devices, and what the kernel
// shows.
func TestCopyAsCp(t *testing.T) {
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	t.Chdir(t.TempDir())
	n.put("f", "new\n")
	n.put("g", "another\n")
	t.Run("a file that is there", func(t *testing.T) { n.t = t; existing(n) })
	t.Run("pipes and devices", func(t *testing.T) { n.t = t; pipes(n) })
	t.Run("what the kernel shows", func(t *testing.T) { n.t = t; kernelFiles(n) })
	t.Run("several", func(t *testing.T) { n.t = t; several(n) })
	t.Run("no room", func(t *testing.T) { n.t = t; noRoom(n) })
	t.Run("attributes", func(t *testing.T) { n.t = t; attributes(n) })
}

func (n noid) put(name, content string) {
	n.t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func (n noid) sh(script string) string {
	n.t.Helper()
	return n.want(0, "exec", "a", "--", "sh", "-c", script)
}

func existing(n noid) {
	n.sh(`cd /root; for i in one two below bound; do echo old and longer >$i; chmod 600 $i; chown 5:6 $i; done
		ln two too; mount --bind below bound`)
	before := n.sh("cd /root; stat -c '%n %a %u:%g %h' one two too below bound; stat -c %i two bound")
	for _, name := range []string{"one", "two", "bound"} {
		n.want(0, "cp", "f", "a:/root/"+name)
	}
	n.equal("owners, modes and names", before, n.sh("cd /root; stat -c '%n %a %u:%g %h' one two too below bound; stat -c %i two bound"))
	n.equal("contents", strings.Repeat("new\n", 5), n.sh("cd /root; cat one two too below bound"))
	if err := os.WriteFile("back", []byte("old"), 0o600); err != nil {
		n.t.Fatal(err)
	}
	n.want(0, "cp", "a:/root/one", "back")
	if fi, err := os.Stat("back"); err != nil || fi.Mode() != 0o600 || fi.Size() != 4 {
		n.t.Error(fi, err)
	}
}

func pipes(n noid) {
	sh := func(script string) string {
		cmd := n.cmd(context.Background(), "help")
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", script, n.bin}
		out, err := cmd.CombinedOutput()
		if err != nil {
			n.t.Errorf("%s: %v", script, err)
		}
		return string(out)
	}
	n.equal("/dev/stdin", "piped\n", sh(`echo piped | "$0" cp /dev/stdin a:/root/piped && "$0" exec a cat /root/piped`))
	n.equal("/dev/stdout, to a file", "head\nnew\ntail\n", sh(`"$0" cp f a:/root/f; (echo head; "$0" cp a:/root/f /dev/stdout; echo tail) >out; cat out`))
	n.equal("/dev/fd, to a pipe", "new\n", sh(`"$0" cp a:/root/f /dev/fd/3 3>&1 | cat`))
	n.equal("a FIFO here", "new\n", sh(`mkfifo fifo && { cat f >fifo & "$0" cp fifo a:/root/fifo; "$0" exec a cat /root/fifo; }`))
	n.equal("a FIFO there", "new\n", sh(`"$0" exec a mkfifo /root/p; { "$0" exec a cat /root/p & "$0" cp f a:/root/p; wait; "$0" exec a rm /root/p; }`))
	n.want(0, "cp", "f", "a:/dev/null")
	n.equal("a device there", "character special file\n", n.sh("stat -c %F /dev/null"))
	if out := sh(`"$0" exec a tar cz /etc >x.tgz 2>/dev/null; "$0" cp - a:/root/ <x.tgz || true`); !strings.Contains(out, "compressed with gzip\nhint: ") {
		n.t.Errorf("a compressed tar: %s", out)
	}
}

func kernelFiles(n noid) {
	n.want(0, "cp", "a:/proc/cpuinfo", "cpuinfo")
	if data, _ := os.ReadFile("cpuinfo"); !bytes.HasPrefix(data, []byte("processor")) {
		n.t.Errorf("cpuinfo is %q", data)
	}
	n.want(0, "cp", "a:/proc/kallsyms", "kallsyms") // longer than what goes through at once
	data, _ := os.ReadFile("kallsyms")
	n.equal("lines of kallsyms", strings.TrimSpace(n.sh("wc -l </proc/kallsyms")), strconv.Itoa(bytes.Count(data, []byte("\n"))))
	_, errs, code := n.run("cp", "-r", "a:/", "whole")
	want := "noid: cp: in vm \"a\": left out what the kernel shows in \"./dev\", \"./proc\", \"./sys\"\n"
	if code != 0 || errs != want {
		n.t.Errorf("cp -r a:/ exits %d: %s", code, errs)
	}
	if kept, _ := filepath.Glob("whole/proc/*"); kept != nil {
		n.t.Errorf("copied %v", kept)
	}
	if _, err := os.Stat("whole/bin/sh"); err != nil {
		n.t.Error(err)
	}
}

func several(n noid) {
	n.sh("mkdir /root/d")
	n.want(0, "cp", "f", "g", "a:/root/d")
	n.equal("both", "new\nanother\n", n.sh("cat /root/d/f /root/d/g"))
	if err := os.Mkdir("d", 0o755); err != nil {
		n.t.Fatal(err)
	}
	n.want(3, "cp", "a:/root/d/f", "a:/root/none", "d")
	n.want(3, "cp", "f", "none", "a:/tmp")
	n.want(3, "cp", "f", "g", "a:/root/none")
	if entries, _ := os.ReadDir("d"); len(entries) > 0 {
		n.t.Errorf("copied before all were looked at: %v", entries)
	}
	n.equal("copied before all were looked at", "no\n", n.sh("test -e /tmp/f || echo no"))
	n.want(0, "cp", "a:/root/d/f", "a:/root/d/g", "d")
	if data, _ := os.ReadFile("d/g"); string(data) != "another\n" {
		n.t.Errorf("%q", data)
	}
}

// noRoom has one error for each copy that finds no room, and leaves what was there.
func noRoom(n noid) {
	n.sh(`mkdir /small /ro; mount -t tmpfs -o size=1m t /small; echo old >/small/old; mount -t tmpfs t /ro; mount -o remount,ro /ro
		mkdir /small/f`)
	n.put("big", strings.Repeat("x", 3<<20))
	if err := os.MkdirAll("tree/sub", 0o755); err != nil {
		n.t.Fatal(err)
	}
	for _, name := range []string{"tree/1", "tree/2", "tree/3", "tree/4"} { // of which two fit
		n.put(name, strings.Repeat("x", 400<<10))
	}
	for _, tt := range []struct {
		src, dst string
		text     string
	}{
		{"big", "a:/small/old", "no space left on device: 3 MiB needed"},
		{"tree", "a:/small/", "no space left on device"},
		{"big", "a:/ro/", "read-only file system"},
		{"tree", "a:/ro/x", "read-only file system"},
		{"f", "a:/small", "is a directory"},
	} {
		out, errs, code := n.run("cp", "-r", tt.src, tt.dst)
		said, hint, _ := strings.Cut(errs, "\n")
		if code != 1 || out != "" || !strings.Contains(said, tt.text) || hint != "" && (!strings.HasPrefix(hint, "hint: ") || strings.Count(hint, "\n") != 1) {
			n.t.Errorf("cp %s %s exits %d: %s", tt.src, tt.dst, code, errs)
		}
	}
	n.equal("what was there", "old\n", n.sh("cat /small/old"))
}

// attributes takes a file's extended attributes there and back.
func attributes(n noid) {
	if err := unix.Setxattr("f", "user.test", []byte("kept\x00"), 0); err != nil {
		n.t.Skipf("NOT RUN: no extended attributes in %s: %v", os.TempDir(), err)
	}
	value := func(name string) string {
		b := make([]byte, 100)
		size, _ := unix.Getxattr(name, "user.test", b)
		return string(b[:max(size, 0)])
	}
	n.want(0, "cp", "-a", "f", "a:/root/attr")
	n.want(0, "cp", "-a", "a:/root/attr", "attr")
	n.equal("with -a", "kept\x00", value("attr"))
	n.want(0, "cp", "-r", "a:/root/attr", "plain")
	n.equal("with -r", "", value("plain"))
}
