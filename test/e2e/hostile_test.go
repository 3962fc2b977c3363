package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const (
	// hostileLimit is how long any command may take against a hostile guest: far more than one needs, far less than for
	// ever.
	hostileLimit = 2 * time.Minute
	// memoryLimit bounds noid's resident memory whatever the guest does, in KiB as rusage counts. It uses some 30 MiB.
	memoryLimit = 200 << 10
	// outputLimit bounds what a command prints: the console's log, 16 MiB and what a fast guest adds to it, each byte
	// spelt by four.
	outputLimit = 256 << 20
)

// keeper keeps the beginning of an output and counts the rest.
type keeper struct {
	head  bytes.Buffer
	total int64
}

func (k *keeper) Write(p []byte) (int, error) {
	k.total += int64(len(p))
	if room := 1<<20 - k.head.Len(); room > 0 {
		k.head.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// outcome is how a command ended.
type outcome struct {
	code      int
	out, errs string
}

// try runs noid within bounds of time, memory and output. It reports what breaks one.
func (n noid) try(args ...string) outcome { n.t.Helper(); return n.tryFor(hostileLimit, args...) }

// tryFor is try with an interrupt, as by Ctrl+C, after a while. noid has hostileLimit to end even then.
func (n noid) tryFor(d time.Duration, args ...string) outcome {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), d)
	defer cancel()
	cmd := n.cmd(ctx, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = hostileLimit
	var out, errs keeper
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		n.t.Fatalf("noid %q: %v", args, err)
	}
	if d == hostileLimit && ctx.Err() != nil || cmd.ProcessState.ExitCode() < 0 {
		n.t.Errorf("noid %q hangs: %s", args, errs.head.String())
	}
	// A process's peak counts from its fork on, and so as high as this one's (exec_mmap in Linux's fs/exec.c).
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		n.t.Fatal(err)
	}
	if used := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss; used > max(memoryLimit, own.Maxrss) {
		n.t.Errorf("noid %q takes %d MiB of memory", args, used>>10)
	}
	if out.total > outputLimit || errs.total > 1<<20 {
		n.t.Errorf("noid %q prints %d bytes, and %d to stderr", args, out.total, errs.total)
	}
	o := outcome{cmd.ProcessState.ExitCode(), out.head.String(), errs.head.String()}
	if strings.Contains(o.errs, "goroutine ") {
		n.t.Errorf("noid %q crashes: %s", args, o.errs)
	}
	if i := strings.IndexFunc(o.errs, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == 0x7f }); i >= 0 {
		n.t.Errorf("noid %q lets control characters through to stderr: %q", args, o.errs)
	}
	return o
}

// files lists all that is in the home, but for what comes and goes with any command.
func (n noid) files() (list []string) {
	n.t.Helper()
	err := filepath.WalkDir(n.home, func(path string, d os.DirEntry, err error) error {
		if err == nil && !strings.Contains(path, "noid.db") && !strings.HasPrefix(filepath.Base(path), "untouched") && filepath.Base(filepath.Dir(path)) != "locks" {
			list = append(list, path)
		}
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return list
}

// TestHostile is a guest that does its worst, and a user's slips of the keyboard, on one VM and clones of it.
func TestHostile(t *testing.T) {
	t.Parallel() // it waits more than it works
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	n.want(0, "checkpoint", "a", "--label", "good")
	t.Run("Names", func(t *testing.T) { hostileNames(n.in(t)) })
	t.Run("Labels", func(t *testing.T) { hostileLabels(n.in(t)) })
	t.Run("State", func(t *testing.T) { hostileState(n.in(t)) })
	t.Run("Console", func(t *testing.T) { hostileConsole(n.in(t)) })
	t.Run("Disk", func(t *testing.T) { hostileDisk(n.in(t)) })
	t.Run("Agent", func(t *testing.T) { hostileAgent(n.in(t)) })
	t.Run("Directory", func(t *testing.T) { hostileDirectory(n.in(t)) })
	n.equal("the first VM in the end", "ok\n", n.want(0, "exec", "a", "echo", "ok"))
}

// badNames can name no VM.
var badNames = []string{"", ".", "..", "../x", "/etc", "a/b", "-rf", ".new-a-0123", "a b", "a\nb", "\x1b[31mred", "\xff\xfe", "ä", "a\u202eb", strings.Repeat("a", 64), strings.Repeat("a/", 50000)}

// hostileNames gives each verb that there is names that are none.
func hostileNames(n noid) {
	before := n.files()
	listed := n.try("__complete", "").out // cobra's own: every verb, one a line
	verbs := 0
	for _, line := range strings.Split(listed, "\n") {
		verb, _, _ := strings.Cut(line, "\t")
		if verb == "" || verb[0] == ':' || verb == "help" || verb == "completion" {
			continue
		}
		verbs++
		after := map[string][]string{"exec": {"true"}, "kill": {"1"}, "restore": {"good"}, "forget": {"good"}}[verb]
		for _, name := range badNames {
			args := append([]string{verb, "--", name}, after...)
			if verb == "cp" {
				args = []string{verb, "--", name + ":/etc/passwd", filepath.Join(n.home, "stolen")}
			}
			o := n.try(args...)
			if verb == "run" && o.code == 125 { // it may be the name of an image, that no registry here has
				o.code = 2
			}
			if o.code != 2 || o.out != "" {
				n.t.Errorf("noid %.100q: exit %d, stdout %.200q, stderr %.200q", args, o.code, o.out, o.errs)
			}
		}
		if o := n.try(verb, "-rf"); o.code != 2 {
			n.t.Errorf("noid %s -rf: exit %d, %q", verb, o.code, o.errs)
		}
	}
	if verbs < 15 {
		n.t.Errorf("only %d verbs in %q", verbs, listed)
	}
	for _, name := range badNames {
		if o := n.try("restore", "a", "good", "--as="+name); o.code != 2 || o.out != "" {
			n.t.Errorf("restore --as %.100q: exit %d, %.200q", name, o.code, o.errs)
		}
		for _, args := range [][]string{{"restore", "a@" + name}, {"restore", "--", "a", name}, {"forget", "--", "a", name}} {
			if o := n.try(args...); o.code != 2 && o.code != 3 || o.out != "" {
				n.t.Errorf("noid %.100q: exit %d, stdout %.200q, stderr %.200q", args, o.code, o.out, o.errs)
			}
		}
	}
	// A path in the guest is the guest's: from its root, ".." leads nowhere else.
	there := n.t.TempDir()
	n.equal("cp from above the guest's root", "0", fmt.Sprint(n.try("cp", "a:/../../etc/hostname", there).code))
	n.equal("cp to above the guest's root", "0", fmt.Sprint(n.try("cp", filepath.Join(there, "hostname"), "a:/../../tmp/came").code))
	n.want(0, "exec", "a", "test", "-f", "/tmp/came")
	if diff := cmp.Diff(before, n.files()); diff != "" {
		n.t.Errorf("bad names change what is there: %s", diff)
	}
}

// hostileLabels are labels that would break a listing or a terminal.
func hostileLabels(n noid) {
	for _, label := range []string{"\x1b[31mred\x1b]0;t\x07\n| 0123abcd | two | lines |\r\u202e\x9b", strings.Repeat("long ", 20000)} {
		o := n.try("checkpoint", "a", "--label", label)
		if o.code == 2 {
			continue // refused as well
		}
		id := strings.TrimSpace(o.out)
		if o.code != 0 || len(id) != 8 {
			n.t.Fatalf("exit %d: %q, %q", o.code, o.out, o.errs)
		}
		listing := n.try("checkpoints", "a").out
		width := 0
		for _, line := range strings.Split(strings.TrimSuffix(listing, "\n"), "\n") {
			if width == 0 {
				width = utf8.RuneCountInString(line)
			}
			if utf8.RuneCountInString(line) != width || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x202e || r == 0x9b }) {
				n.t.Errorf("the listing is broken in %q", line)
			}
		}
		var list []struct{ ID, Label string }
		if err := json.Unmarshal([]byte(n.want(0, "checkpoints", "a", "--json")), &list); err != nil {
			n.t.Error(err)
		}
		for _, c := range list {
			if c.ID == id && c.Label != strings.ToValidUTF8(label, "\ufffd") {
				n.t.Errorf("the label comes back as %.100q", c.Label)
			}
		}
		n.want(0, "forget", "a", id)
	}
}

// hostileState changes a checkpoint's files: it is refused, and whatever ran runs.
func hostileState(n noid) {
	n.want(0, "exec", "a", "touch", "/tmp/still-here")
	id := strings.TrimSpace(n.want(0, "checkpoint", "a"))
	dir := filepath.Join(n.home, "storage/checkpoints/a", id)
	whole, err := os.ReadFile(filepath.Join(dir, "vmstate.snap"))
	if err != nil {
		n.t.Fatal(err)
	}
	path := filepath.Join(dir, "vmstate.snap")
	put := func(data []byte) {
		if err := os.Chmod(path, 0o600); err != nil {
			n.t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o400); err != nil {
			n.t.Fatal(err)
		}
	}
	flipped := func(at int) []byte {
		data := bytes.Clone(whole)
		data[at] ^= 0x40
		return data
	}
	for what, data := range map[string][]byte{"the first byte": flipped(0), "a length": flipped(9), "a byte in the middle": flipped(len(whole) / 2),
		"the last byte": flipped(len(whole) - 1), "cut": whole[:len(whole)/2], "empty": {}, "longer": append(bytes.Clone(whole), 0), "zeros": make([]byte, len(whole))} {
		put(data)
		for _, args := range [][]string{{"restore", "a", id, "--as", "x"}, {"restore", "a", id, "--no-backup"}} {
			if o := n.try(args...); o.code == 0 {
				n.t.Errorf("%s: noid %q accepts it", what, args)
				n.run("destroy", "x")
			}
		}
		n.want(3, "inspect", "x")
		n.equal(what+": the source", "ok\n", n.want(0, "exec", "a", "--", "sh", "-c", "test -f /tmp/still-here && echo ok"))
	}
	put(whole)
	n.want(0, "restore", "a", id, "--as", "x")
	n.equal("its bytes put back", "ok\n", n.want(0, "exec", "x", "echo", "ok"))
	n.want(0, "destroy", "x")
	n.want(0, "forget", "a", id)
}
