package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStoppedInThePause has noid stand still in the middle of a pause, as after Ctrl+Z: the guest runs on all the same,
// with the right time. When noid goes on, it says so and publishes nothing. The same after SIGKILL.
func TestStoppedInThePause(t *testing.T) {
	n := setup(t)
	fault := os.Getenv("NOID_TEST_FAULT_BIN")
	if fault == "" {
		t.Skip("NOT RUN: NOID_TEST_FAULT_BIN is not set ('make test' does)")
	}
	n.want(0, "create", "a", "--wait")
	trace, fired := filepath.Join(t.TempDir(), "trace"), filepath.Join(t.TempDir(), "fired")
	start := func(args, env []string) (wait func() (int, string), kill func(syscall.Signal)) {
		cmd := n.cmd(t.Context(), args...)
		cmd.Path = fault
		cmd.Env = append(cmd.Env, env...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		check(t, cmd.Start())
		wait = func() (int, string) { cmd.Wait(); return cmd.ProcessState.ExitCode(), errs.String() }
		return wait, func(sig syscall.Signal) { check(t, cmd.Process.Signal(sig)) }
	}
	for _, args := range [][]string{{"checkpoint", "a", "--label", "l"}, {"fork", "a", "--as", "b"}} {
		os.Remove(trace)
		wait, _ := start(args, []string{"NOID_FAULT_TRACE=" + trace})
		if code, errs := wait(); code != 0 {
			t.Fatalf("%v exits %d: %s", args, code, errs)
		}
		n.run("destroy", "b")
		n.run("forget", "a", "l")
		text, err := os.ReadFile(trace)
		check(t, err)
		// The driver's own steps in the pause: with QEMU, a session with it is open then.
		var steps []string
		for line := range strings.Lines(string(text)) {
			if f := strings.Split(line, "\t"); f[0] == args[0] && strings.Contains(f[1], "/snapshot.go:") {
				steps = append(steps, f[0]+" "+f[2]+" "+f[1])
			}
		}
		if len(steps) == 0 {
			t.Fatalf("%v has no step in snapshot.go", args)
		}
		for _, sig := range []syscall.Signal{syscall.SIGCONT, syscall.SIGKILL} {
			os.Remove(fired)
			began := time.Now()
			wait, kill := start(args, []string{"NOID_FAULT=run " + steps[len(steps)-1], "NOID_FAULT_FIRED=" + fired, "NOID_FAULT_CMD=kill -STOP $PPID"})
			for _, err := os.Lstat(fired); err != nil && time.Since(began) < time.Minute; _, err = os.Lstat(fired) {
				time.Sleep(5 * time.Millisecond)
			}
			before := time.Now().Add(-100 * time.Millisecond).UTC().Format("20060102150405")
			after := n.want(0, "exec", "a", "date", "-u", "+%Y%m%d%H%M%S")
			if after < before {
				t.Errorf("the guest's clock shows %s, the host's %s", after, before)
			}
			kill(sig)
			code, errs := wait()
			if sig == syscall.SIGCONT && (code != 1 || !strings.Contains(errs, "stood still")) {
				t.Errorf("%v went on: exit %d: %s", args, code, errs)
			}
			n.equal("state", "running", n.state("a"))
			n.equal("exec", "ok\n", n.want(0, "exec", "a", "echo", "ok"))
			n.want(0, "checkpoints", "a")
			if left := n.want(0, "checkpoints", "a", "--json"); strings.Contains(left, `"id"`) {
				t.Errorf("a checkpoint of a guest that ran on: %s", left)
			}
			n.want(3, "inspect", "b")
			n.want(0, args...) // the same again
			n.run("destroy", "b")
			n.run("forget", "a", "l")
		}
	}
}
