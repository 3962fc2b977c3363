// Package e2e runs the noid binary as a user would, on real VMs. NOID_TEST_BIN is the binary, NOID_TEST_KERNEL and
// NOID_TEST_ROOTFS what its guests boot; 'make test' sets them. NOID_TEST_DRIVER is the driver, qemu if it is not set.
package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"noid/internal/vmm/conformance/tinyguest"
	"noid/internal/vmm/drivers"
)

// noid is a binary over a home of its own.
type noid struct {
	t      testing.TB
	bin    string
	home   string
	driver string // "" is NOID_TEST_DRIVER, or qemu
}

func setup(t testing.TB) noid {
	t.Helper()
	n := noid{t: t, bin: os.Getenv("NOID_TEST_BIN"), home: filepath.Join(t.TempDir(), "home")}
	kernel, rootfs := os.Getenv("NOID_TEST_KERNEL"), os.Getenv("NOID_TEST_ROOTFS")
	if n.bin == "" || kernel == "" || rootfs == "" {
		t.Skip("NOT RUN: NOID_TEST_BIN, NOID_TEST_KERNEL and NOID_TEST_ROOTFS are not all set ('make test' does)")
	}
	n.want(0, "config", "set", "kernel", kernel)
	n.want(0, "config", "set", "rootfs", rootfs)
	t.Cleanup(func() {
		entries, _ := os.ReadDir(filepath.Join(n.home, "storage/vms"))
		for _, e := range entries {
			if t.Failed() {
				logs, _, _ := n.run("logs", e.Name())
				t.Logf("the end of %s's console:\n%s", e.Name(), logs[max(0, len(logs)-3000):])
			}
			n.run("destroy", "--checkpoints", e.Name())
		}
	})
	return n
}

// moveTo gives n an empty home below mnt, with what guests boot.
func (n *noid) moveTo(mnt string) {
	n.t.Helper()
	kernel, rootfs := n.want(0, "config", "get", "kernel"), n.want(0, "config", "get", "rootfs")
	n.home = filepath.Join(mnt, "home")
	n.want(0, "config", "set", "kernel", strings.TrimSpace(kernel))
	n.want(0, "config", "set", "rootfs", strings.TrimSpace(rootfs))
}

// bootLimit is how long a guest may take to its shell: minutes where a busy machine emulates it, or emulates its host.
const bootLimit = 4 * time.Minute

func (n noid) cmd(ctx context.Context, args ...string) *exec.Cmd {
	driver := cmp.Or(n.driver, os.Getenv("NOID_TEST_DRIVER"), "qemu")
	if args[0] == "exec" {
		args = append([]string{"exec", "--wait-timeout", bootLimit.String()}, args[1:]...)
	}
	cmd := exec.CommandContext(ctx, n.bin, args...)
	cmd.Env = append(os.Environ(), "NOID_HOME="+n.home, "NOID_DRIVER="+driver)
	return cmd
}

func (n noid) run(args ...string) (stdout, stderr string, code int) {
	n.t.Helper()
	return n.runWithin(bootLimit+time.Minute, args...)
}

func (n noid) runWithin(limit time.Duration, args ...string) (stdout, stderr string, code int) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var out, errb bytes.Buffer
	cmd := n.cmd(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &errb
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		n.t.Fatalf("noid %v: %v", args, err)
	}
	return out.String(), errb.String(), cmd.ProcessState.ExitCode()
}

// want runs noid and insists on its exit code.
func (n noid) want(code int, args ...string) string {
	n.t.Helper()
	out, errs, got := n.run(args...)
	if got != code {
		n.t.Fatalf("noid %q exits %d, not %d\nstdout: %s\nstderr: %s", args, got, code, out, errs)
	}
	return out
}

func (n noid) equal(what, want, got string) {
	n.t.Helper()
	if want != got {
		n.t.Errorf("%s: wanted %q, got %q", what, want, got)
	}
}

func (n noid) state(name string) string {
	n.t.Helper()
	var vm struct{ State string }
	if err := json.Unmarshal([]byte(n.want(0, "inspect", name)), &vm); err != nil {
		n.t.Fatal(err)
	}
	return vm.State
}

// waitState waits for what the guest does in its own time.
func (n noid) waitState(name, want string) {
	n.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for n.state(name) != want {
		if time.Now().After(deadline) {
			n.t.Fatalf("%s is %s and does not become %s", name, n.state(name), want)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestQuickStart walks a VM through its life: clones and restores must have the bytes of their moment and nobody
// else's.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.equal("create", "a\n", n.want(0, "create", "a"))
	n.want(4, "create", "a")
	n.equal("exec", "x  y", n.want(0, "exec", "a", "--", "printf", "%s", "x  y"))
	n.want(37, "exec", "a", "--", "sh", "-c", "exit 37")
	n.want(127, "exec", "a", "nosuchcommand")
	n.want(0, "exec", "--serial", "a", "--", "printf", "\033[31mred")
	if logs := n.want(0, "logs", "a"); strings.ContainsRune(logs, 0x1b) || !strings.Contains(logs, "[31mred") {
		t.Errorf("logs lets an escape sequence through, or drops it unseen: %q", logs)
	}
	n.want(124, "exec", "--timeout", "1s", "a", "sleep", "100")
	n.equal("exec after a timeout", "fine\n", n.want(0, "exec", "a", "echo", "fine"))
	n.want(0, "exec", "a", "--", "sh", "-c", "echo one >/root/f; sync; sleep 100000 >/dev/null 2>&1 & echo $! >/root/pid; sync")
	id := strings.TrimSpace(n.want(0, "checkpoint", "a", "--label", "l"))
	n.want(0, "exec", "a", "--", "sh", "-c", "echo two >/root/f; kill $(cat /root/pid); sync")
	n.want(0, "restore", "a", "l", "--as", "b")
	n.equal("the clone's file", "one\n", n.want(0, "exec", "b", "cat", "/root/f"))
	n.want(0, "exec", "b", "--", "sh", "-c", "kill -0 $(cat /root/pid)")
	n.want(0, "exec", "b", "--", "sh", "-c", "echo three >/root/f; sync")
	n.equal("the source's file", "two\n", n.want(0, "exec", "a", "cat", "/root/f"))
	second := strings.TrimSpace(n.want(0, "checkpoint", "b"))
	n.want(0, "restore", "b", second[:4], "--as", "c")
	n.equal("the clone of a clone", "three\n", n.want(0, "exec", "c", "cat", "/root/f"))
	n.want(0, "restore", "a", id)
	n.equal("after a restore in place", "one\n", n.want(0, "exec", "a", "cat", "/root/f"))
	if out := n.want(0, "checkpoints", "a"); !strings.Contains(out, "before restore to "+id) {
		t.Errorf("the state before a restore is not kept:\n%s", out)
	}
	n.want(0, "restore", "a", "before restore to "+id)
	n.equal("the restore undone", "two\n", n.want(0, "exec", "a", "cat", "/root/f"))
	n.want(0, "destroy", "a")
	n.want(3, "inspect", "a")
	n.want(0, "restore", "a", id)
	n.equal("a destroyed VM restored under its name", "one\n", n.want(0, "exec", "a", "cat", "/root/f"))
	n.want(0, "forget", "a", id)
	n.equal("a VM whose checkpoint is forgotten", "one\n", n.want(0, "exec", "a", "cat", "/root/f"))
	n.want(3, "restore", "a", id)
	n.want(0, "destroy", "a", "b", "c", "--checkpoints")
	left, _ := os.ReadDir(filepath.Join(n.home, "storage/vms"))
	if len(left) != 0 {
		t.Errorf("destroy leaves %v", left)
	}
}

// TestStates follows a VM through the states that list shows.
func TestStates(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	n.equal("state", "running", n.state("a"))
	n.want(0, "pause", "a")
	n.equal("state", "paused", n.state("a"))
	n.want(125, "exec", "a", "true")
	n.want(0, "checkpoint", "a", "--label", "paused")
	n.equal("state", "paused", n.state("a"))
	n.want(0, "resume", "a")
	n.equal("exec", "ok\n", n.want(0, "exec", "a", "echo", "ok"))
	n.want(0, "exec", "a", "--", "sh", "-c", "echo kept >/root/f; sync")
	n.want(0, "stop", "a")
	n.equal("state", "stopped", n.state("a"))
	n.want(5, "checkpoint", "a")
	n.want(5, "pause", "a")
	n.want(0, "stop", "a")
	n.want(0, "start", "a")
	n.want(5, "start", "a")
	n.equal("the disk after a stop", "kept\n", n.want(0, "exec", "a", "cat", "/root/f"))
	n.run("exec", "--timeout", "3s", "a", "poweroff", "-f")
	n.waitState("a", "stopped")
	n.want(0, "start", "a")
	if _, errs, code := n.run("exec", "a", "halt", "-f"); code != 125 || !strings.Contains(errs, "its guest powered off or halted") {
		t.Errorf("exec of halt: exit %d, %s", code, errs)
	}
	n.equal("state", "stopped", n.state("a"))
	for _, args := range [][]string{{"checkpoint", "a"}, {"resume", "a"}, {"pause", "a"}} {
		n.want(5, args...)
	}
	n.want(125, "exec", "a", "true")
	n.want(0, "start", "a")
	n.run("exec", "--timeout", "3s", "a", "--", "sh", "-c", "echo c >/proc/sysrq-trigger")
	n.waitState("a", "dead")
	n.want(0, "stop", "a")
	n.equal("state", "dead", n.state("a"))
	n.want(0, "restore", "a", "paused")
	n.equal("exec", "ok\n", n.want(0, "exec", "a", "echo", "ok"))
}

// TestSleep has a guest put itself to sleep: a checkpoint works, and resume wakes it, whole and with the right time.
func TestSleep(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	if os.Getenv("NOID_TEST_DRIVER") == "firecracker" {
		t.Skip("NOT RUN: Firecracker cannot wake a guest")
	}
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	for _, state := range []string{"mem", "freeze"} {
		n.want(0, "exec", "-d", "a", "--", "sh", "-c", "echo "+state+" >/sys/power/state; date +%s >/tmp/"+state)
		asleep := func() bool {
			_, _, code := n.run("exec", "--wait-timeout", "1s", "--timeout", "1s", "a", "true")
			return code != 0
		}
		for deadline := time.Now().Add(time.Minute); !asleep(); {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the guest stays awake", state)
			}
		}
		n.want(0, "checkpoint", "a")
		before := time.Now().Unix()
		n.want(0, "resume", "a")
		if after := strings.TrimSpace(n.want(0, "exec", "a", "date", "+%s")); after < strconv.FormatInt(before, 10) {
			t.Errorf("%s: the guest wakes at %s, the host is at %d", state, after, before)
		}
		n.want(0, "exec", "a", "--", "sh", "-c", "until [ -s /tmp/"+state+" ]; do sleep 0.1; done")
	}
	n.want(0, "stop", "a")
	n.equal("state", "stopped", n.state("a"))
}

// TestKilled kills noid in the middle of each verb: list must not choke, and a second try must work.
func TestKilled(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "base", "--wait")
	n.want(0, "checkpoint", "base", "--label", "l")
	for _, after := range []time.Duration{5, 20, 60, 150, 300, 600} {
		for _, args := range [][]string{
			{"create", "x"}, {"checkpoint", "base"}, {"restore", "base", "l", "--as", "y"}, {"restore", "base", "l", "--no-backup"}, {"destroy", "x"},
		} {
			cmd := n.cmd(context.Background(), args...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(after * time.Millisecond)
			cmd.Process.Kill()
			cmd.Wait()
			n.want(0, "list")
			n.want(0, "checkpoints", "base")
		}
		n.waitState("base", "running") // also when noid was killed while it was paused
		n.run("destroy", "x")
		n.run("destroy", "y")
		n.want(0, "create", "x")
		n.want(0, "destroy", "x")
	}
	n.equal("exec", "ok\n", n.want(0, "exec", "base", "echo", "ok"))
	n.want(0, "restore", "base", "l", "--as", "z")
	n.equal("exec", "ok\n", n.want(0, "exec", "z", "echo", "ok"))
}

// TestRefusals is bad input: the exit code, and a hint where there is a cure.
func TestRefusals(t *testing.T) {
	t.Parallel()
	n := setup(t)
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, bytes.Repeat([]byte("junk"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	tiny := filepath.Join(t.TempDir(), "tiny") // no Linux: it needs no real KVM
	if err := os.WriteFile(tiny, tinyguest.Kernel(), 0o600); err != nil {
		t.Fatal(err)
	}
	noProgram := filepath.Join(t.TempDir(), "firecracker") // executable by its mode alone
	if err := os.WriteFile(noProgram, []byte("\x00no program\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{2, "did you mean 'noid list'", []string{"lst"}},
		{2, "did you mean '--label'", []string{"checkpoint", "a", "--lable", "x"}},
		{2, "hint", []string{"create", "../x"}},
		{2, "hint", []string{"create"}},
		{2, "", []string{"create", "a", "--mem", "lots"}},
		{2, "", []string{"create", "a", "--driver", "xen"}},
		{2, "did you mean", []string{"config", "set", "kernal", "x"}},
		{3, "kernel not found", []string{"create", "a", "--kernel", "/nosuch"}},
		{3, "rootfs not found", []string{"create", "a", "--rootfs", "/nosuch"}},
		{1, "is not a kernel", []string{"create", "a", "--kernel", junk}},
		{1, "is not an ext4 image", []string{"create", "a", "--rootfs", junk}},
		{3, `no vm "nosuch"`, []string{"destroy", "nosuch"}},
		{3, `no vm "nosuch"`, []string{"restore", "nosuch", "deadbeef"}},
		{125, `no vm "nosuch"`, []string{"exec", "nosuch", "true"}},
		{7, "cannot start firecracker", []string{"create", "a", "--driver", "firecracker", "--kernel", tiny}},
	} {
		if c.code == 7 {
			n.want(0, "config", "set", "firecracker", noProgram)
		}
		out, errs, code := n.run(c.args...)
		if code != c.code || !strings.Contains(errs, c.says) || out != "" {
			t.Errorf("noid %q: exit %d, stdout %q, stderr %q; wanted exit %d and %q", c.args, code, out, errs, c.code, c.says)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(n.home, "storage/vms")); len(left) != 0 {
		t.Errorf("refusals leave %v", left)
	}
}

// TestFirecrackerWithoutKVM: where KVM is missing or emulated, a Linux guest of Firecracker would not get up. noid says
// so before it makes anything, wherever the driver's name comes from.
func TestFirecrackerWithoutKVM(t *testing.T) {
	if drivers.RealKVM() {
		t.Skip("NOT RUN: this host has KVM")
	}
	n := setup(t)
	n.want(0, "config", "set", "driver", "firecracker")
	for _, args := range [][]string{{"create", "a", "--driver", "firecracker"}, {"create", "a"}} {
		cmd := n.cmd(t.Context(), args...)
		cmd.Env = append(cmd.Env, "NOID_DRIVER=")
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != 7 || !strings.Contains(string(out), "firecracker cannot run guests here: ") || !strings.Contains(string(out), "hint: choose --driver qemu") {
			t.Errorf("noid %q: %v: %s", args, err, out)
		}
	}
	n.equal("VMs", "[]\n", n.want(0, "list", "--json"))
}
