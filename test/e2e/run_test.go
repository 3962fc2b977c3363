package e2e

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// start begins a run whose script says "begun" first.
func (n noid) start(args ...string) *running {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), bootLimit+time.Minute)
	n.t.Cleanup(cancel)
	r := &running{n: n, cmd: n.cmd(ctx, append([]string{"run"}, args...)...)}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.errs
	if err := r.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.until("the command begins", func() bool { return strings.Contains(r.out.String(), "begun\n") })
	return r
}

// only insists on the VMs that there are, and on an empty staging area.
func (n noid) only(after string, names ...string) {
	n.t.Helper()
	if got := strings.Fields(n.want(0, "list", "-q")); !slices.Equal(got, names) {
		n.t.Errorf("%s: there are %q, not %q", after, got, names)
	}
	left, err := os.ReadDir(filepath.Join(n.home, "storage/staging"))
	if err != nil || len(left) > 0 {
		n.t.Errorf("%s: %v is left, %v", after, left, err)
	}
}

// hasCheckpoint has the VM "a" with a file in its memory, and its checkpoint "one".
func hasCheckpoint(t *testing.T) noid {
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	n.want(0, "exec", "a", "--", "sh", "-c", "echo kept >/dev/shm/f || { mkdir -p /dev/shm; mount -t tmpfs tmpfs /dev/shm; echo kept >/dev/shm/f; }")
	n.want(0, "checkpoint", "a", "--label", "one")
	return n
}

// TestRun runs commands in clones of a checkpoint: the exit codes are those of exec, and --rm leaves nothing.
func TestRun(t *testing.T) {
	t.Parallel()
	n := hasCheckpoint(t)
	n.equal("run", "kept\nb\n", n.want(0, "run", "--rm", "--name", "b", "a@one", "--", "sh", "-c", "cat /dev/shm/f; hostname"))
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{1, "", []string{"a@one", "false"}},
		{126, "permission denied", []string{"a@one", "/etc/hostname"}},
		{127, "command not found", []string{"a@one", "nosuchcommand"}},
		{128 + 15, "", []string{"a@one", "sh", "-c", "kill $$"}},
		{124, "timed out after 1s", []string{"--timeout", "1s", "a@one", "sleep", "100"}},
		{125, `no checkpoint "none"`, []string{"a@none", "true"}},
		{125, "already exists", []string{"--name", "a", "a@one", "true"}},
		{125, "powered off or halted", []string{"a@one", "sh", "-c", "poweroff -f; sleep 100"}},
		{125, "no user", []string{"-u", "nobody-at-all", "a@one", "true"}},
	} {
		if _, errs, code := n.run(append([]string{"run", "--rm"}, c.args...)...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("run %q: exit %d, %q; wanted %d, %q", c.args, code, errs, c.code, c.says)
		}
		n.only(strings.Join(c.args, " "), "a")
	}

	cmd := n.cmd(t.Context(), "run", "--rm", "-i", "a@one", "md5sum")
	cmd.Stdin = io.LimitReader(zeros{}, 3<<20)
	if sum, err := cmd.Output(); err != nil || !strings.HasPrefix(string(sum), "d1dd210d6b1312cb342b56d02bd5e651 ") {
		t.Errorf("md5sum of 3 MiB of input: %q, %v", sum, err)
	}
	cmd = n.cmd(t.Context(), "run", "--rm", "-it", "a@one", "--", "sh", "-c", "tty; stty size")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 101})
	if err != nil {
		t.Fatal(err)
	}
	shown, _ := io.ReadAll(tty)
	tty.Close()
	if err := cmd.Wait(); err != nil || !strings.Contains(string(shown), "/dev/pts/") || !strings.Contains(string(shown), "33 101") {
		t.Errorf("on a terminal: %q, %v", shown, err)
	}

	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { n.want(0, "run", "--rm", "a@one", "true") })
	}
	all.Wait()
	n.only("runs side by side", "a")
}

// zeros is an endless input.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// TestRunStays: without --rm the VM is stopped, and has its disk; with -d it runs.
func TestRunStays(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := hasCheckpoint(t)
	n.want(3, "run", "--name", "b", "a@one", "--", "sh", "-c", "echo written >/root/f; exit 3")
	n.equal("state", "stopped", n.state("b"))
	n.want(0, "start", "b")
	n.equal("its disk", "written\n", n.want(0, "exec", "b", "cat", "/root/f"))
	name := strings.TrimSpace(n.want(0, "run", "-d", "a@one", "--", "sh", "-c", "echo out; exit 5"))
	job := strings.TrimSpace(n.want(0, "ps", "-q", name))
	n.equal("output of -d", "out\n", n.want(5, "attach", name, job))
	n.equal("state", "running", n.state(name))
}

// TestRunKilled ends noid in every way under a command: signals reach that, and with --rm the VM goes, also by another
// name; a checkpoint of it stays.
func TestRunKilled(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := hasCheckpoint(t)
	const loop = "echo begun; while :; do sleep 0.1; done"
	r := n.start("--rm", "a@one", "--", "sh", "-c", "trap 'exit 9' TERM; "+loop)
	r.cmd.Process.Signal(syscall.SIGTERM)
	r.ends(9, "")
	n.only("SIGTERM", "a")
	r = n.start("--rm", "a@one", "--", "sh", "-c", loop)
	r.cmd.Process.Signal(syscall.SIGINT)
	r.ends(128+2, "")
	n.only("SIGINT", "a")
	r = n.start("--rm", "a@one", "--", "sh", "-c", "trap '' INT; "+loop)
	r.cmd.Process.Signal(syscall.SIGINT)
	time.Sleep(100 * time.Millisecond) // two signals at once are one
	r.cmd.Process.Signal(syscall.SIGINT)
	r.ends(130, "")
	n.only("SIGINT twice", "a")

	r = n.start("--rm", "--name", "b", "a@one", "--", "sh", "-c", loop)
	other := n.start("--rm", "--name", "c", "a@one", "--", "sh", "-c", "trap 'exit 9' TERM; "+loop)
	n.want(0, "checkpoint", "b", "--label", "stays")
	n.want(0, "rename", "b", "d")
	r.cmd.Process.Kill()
	r.cmd.Wait()
	n.equal("state", "running", n.state("d"))
	n.want(0, "resume", "a")
	if got := n.want(0, "list", "-q"); got != "a\nc\n" {
		t.Errorf("a kill, and another command: there are %q", got)
	}
	other.cmd.Process.Signal(syscall.SIGTERM)
	other.ends(9, "")
	n.only("all ended", "a")
	n.equal("run of its checkpoint", "kept\n", n.want(0, "run", "--rm", "d@stays", "cat", "/dev/shm/f"))
}
