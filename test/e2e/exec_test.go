package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// running is an exec whose command has begun.
type running struct {
	n         noid
	cmd       *exec.Cmd
	out, errs screen
}

// begin runs "echo begun" and then script in the guest of vm and returns when that has begun.
func (n noid) begin(vm, script string, flags ...string) *running {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), bootLimit+time.Minute)
	n.t.Cleanup(cancel)
	args := append(append([]string{"exec"}, flags...), vm, "--", "sh", "-c", "echo begun; "+script)
	r := &running{n: n, cmd: n.cmd(ctx, args...)}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.errs
	if err := r.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.until("the command begins", func() bool { return strings.Contains(r.out.String(), "begun\n") })
	return r
}

// ends waits for noid's end.
func (r *running) ends(code int, says string) {
	r.n.t.Helper()
	r.cmd.Wait()
	if got := r.cmd.ProcessState.ExitCode(); got != code || !strings.Contains(r.errs.String(), says) {
		r.n.t.Errorf("%q ends with %d and %q; wanted %d and %q", r.cmd.Args, got, r.errs.String(), code, says)
	}
}

// TestExecCutShort takes the guest away under commands that would run for ever: each ends, and says why.
func TestExecCutShort(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := setup(t)
	const forever = "while :; do sleep 1000; done"
	n.want(0, "create", "a", "--wait")
	id := strings.TrimSpace(n.want(0, "checkpoint", "a"))

	silent := n.begin("a", forever)
	loud := n.begin("a", "while :; do echo more; sleep 0.1; done")
	n.want(0, "restore", "a", id, "--no-backup")
	silent.ends(125, "no longer knows the command")
	loud.ends(125, "no longer knows the command")
	n.equal("exec after it", "ok\n", n.want(0, "exec", "a", "echo", "ok"))

	n.want(0, "restore", "a", id, "--as", "b")
	destroyed := n.begin("b", forever)
	n.want(0, "destroy", "b")
	destroyed.ends(125, "was destroyed meanwhile")

	// An agent that does not answer is as good as a guest that hangs. Its checkpoint and a restore go on without it.
	// It stops after what the command has said is here.
	stopped := n.begin("a", "sleep 2; kill -STOP $PPID; "+forever, "--timeout", "6s")
	var errs string
	code := 0
	n.until("the agent hangs", func() bool {
		_, errs, code = n.run("exec", "--wait-timeout", "2s", "a", "true")
		return code != 0
	})
	if code != 125 || !strings.Contains(errs, "timed out") {
		t.Errorf("exec in a guest that hangs: exit %d, %q", code, errs)
	}
	stopped.ends(124, "did not say in time")
	n.want(0, "checkpoint", "a")
	n.want(0, "restore", "a", id, "--no-backup")
	n.equal("exec after a hang", "ok\n", n.want(0, "exec", "a", "echo", "ok"))

	paniced := n.begin("a", "echo c >/proc/sysrq-trigger; "+forever)
	paniced.ends(125, "is dead: its guest's kernel panicked")
	if _, errs, code = n.run("exec", "a", "true"); code != 125 || !strings.Contains(errs, "is dead") {
		t.Errorf("exec after a panic: exit %d, %q", code, errs)
	}
}

// killAgent has a command in the VM name kill everything that it can, and looks whether the agent is back.
func (n noid) killAgent(name string) {
	n.t.Helper()
	began := n.begin(name, "while :; do sleep 1000; done")
	n.want(125, "exec", name, "--", "sh", "-c", "kill -9 -1")
	began.ends(125, "the guest's agent was killed")
	n.equal("exec after it", "ok\n", n.want(0, "exec", name, "echo", "ok"))
	if _, errs, _ := n.run("exec", name, "true"); strings.Contains(errs, "console") {
		n.t.Errorf("exec goes over the console: %q", errs)
	}
	if list := n.want(0, "ps", name); strings.Contains(list, "sleep") {
		n.t.Errorf("ps lists what was killed:\n%s", list)
	}
	n.want(0, "cp", name+":/etc/hostname", n.t.TempDir())
}

// TestAgentKilled kills the agent with everything else in the guest, over and over, and by itself, and from a guest
// that was checkpointed since.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	log := n.want(0, "logs", "a")
	for range 2 {
		n.killAgent("a")
	}
	n.want(125, "exec", "a", "--", "sh", "-c", "kill -9 $PPID; sleep 1000")
	id := strings.TrimSpace(n.want(0, "checkpoint", "a"))
	n.want(0, "restore", "a", id)
	n.killAgent("a")
	if more := strings.TrimPrefix(n.want(0, "logs", "a"), log); strings.Contains(more, "noid") {
		t.Errorf("the agent writes to the console:\n%s", more)
	}
}

// TestSlowBoot has the host stop a VM that boots for longer than an exec is patient: nothing is typed on its console,
// and it becomes a template as any other.
func TestSlowBoot(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "a")
	dir := filepath.Join(n.home, "storage/vms/a")
	// As after a command for which the console had to do: the next one is patient for a second.
	if err := os.WriteFile(filepath.Join(dir, "agent.silent"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var vm struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal([]byte(n.want(0, "inspect", "a")), &vm); err != nil || vm.PID == 0 {
		t.Fatalf("inspect: %v", err)
	}
	if err := syscall.Kill(vm.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := n.run("exec", "--wait-timeout", "4s", "a", "true"); code != 125 || !strings.Contains(errs, "timed out") {
		t.Errorf("exec in a guest that stands still: exit %d, %q", code, errs)
	}
	syscall.Kill(vm.PID, syscall.SIGCONT)
	n.equal("exec", "ok\n", n.want(0, "exec", "a", "echo", "ok"))
	if log := n.want(0, "logs", "a"); strings.Contains(log, "echo") || !strings.Contains(log, "noid-init: the agent runs") {
		t.Errorf("its console:\n%s", log)
	}
	if keys := n.templates(); len(keys) != 1 {
		t.Errorf("templates: %v", keys)
	}
}

// TestAgentProcess is what the agent looks like from within the guest.
func TestAgentProcess(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	n.equal("comm", "noid-agent\n", n.want(0, "exec", "a", "--", "sh", "-c", "cat /proc/$PPID/comm"))
	// Where Debian's initscripts look for whom a shutdown leaves alone.
	pid := n.want(0, "exec", "a", "--", "sh", "-c", "mkdir -p /run/sendsigs.omit.d; echo $PPID")
	if _, err := strconv.Atoi(strings.TrimSpace(pid)); err != nil {
		t.Fatal(err)
	}
	n.until("the agent registers itself", func() bool {
		out, _, _ := n.run("exec", "a", "cat", "/run/sendsigs.omit.d/noid-agent")
		return out == pid
	})
}
