package e2e

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// says returns what a server at a unix socket of this host says, or "".
func says(path string) string {
	c, err := net.DialTimeout("unix", path, time.Minute)
	if err != nil {
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	text, _ := io.ReadAll(c)
	return string(text)
}

// sshAgent starts a real ssh-agent with one key, and has this process' commands know it.
func sshAgent(t *testing.T, dir, comment string) {
	t.Helper()
	path := filepath.Join(dir, "agent")
	agent := exec.Command("ssh-agent", "-D", "-a", path)
	if err := agent.Start(); err != nil {
		t.Skipf("NOT RUN: %v", err)
	}
	t.Cleanup(func() {
		agent.Process.Kill()
		agent.Wait()
	})
	t.Setenv("SSH_AUTH_SOCK", path)
	key := filepath.Join(dir, "key")
	for began := time.Now(); ; {
		if _, err := os.Lstat(path); err == nil || time.Since(began) > time.Minute {
			break
		}
	}
	for _, args := range [][]string{{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", key}, {"ssh-add", "-q", key}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
}

// TestSockets has unix sockets lead out of a guest and into it: the host's ssh-agent, and servers at either end. They
// come and go while it runs, outlive both helpers, stop, start and a restore in place, and a clone has none.
func TestSockets(t *testing.T) {
	n := setup(t)
	dir := t.TempDir()
	sshAgent(t, dir, "key-of-the-host")
	program := fetchProgram(t)
	in := filepath.Join(dir, "in")
	n.want(0, "create", "a", "--net", "default", "--forward-agent", "-p", in+":/run/served", "--wait")
	n.want(0, "cp", program, "a:/root/fetch")
	keys := func(name string) bool {
		out, _, _ := n.run("exec", name, "--", "/root/fetch", "keys")
		return out == "key-of-the-host\n"
	}
	n.until("the guest has the host's keys", func() bool { return keys("a") })
	if log := n.want(0, "net", "log", "a"); !strings.Contains(log, " socket guest=/run/noid/ssh-agent.sock proto=unix to="+filepath.Join(dir, "agent")) {
		t.Errorf("the log of uses:\n%s", log)
	}
	n.equal("who serves nothing", "", says(in))
	n.want(0, "exec", "-d", "a", "--", "/root/fetch", "serve", "/run/served")
	reached := func() bool { return says(in) == "of the guest\n" }
	n.until("the guest's server", reached)
	if info, err := os.Lstat(in); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket here: %v, %v", info, err)
	}
	n.want(4, "create", "b", "-p", in+":/run/served")
	n.want(4, "port", "add", "a", filepath.Join(dir, "key")+":/run/served")

	l, err := net.Listen("unix", filepath.Join(dir, "server"))
	check(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "of the host\n")
			c.Close()
		}
	}()
	out := filepath.Join(dir, "server") + ":/tmp/out"
	n.want(0, "port", "add", "a", "--socket", out, filepath.Join(dir, "second")+":/run/served")
	n.until("a socket that was added", func() bool {
		got, _, _ := n.run("exec", "a", "--", "/root/fetch", "unix", "/tmp/out")
		return got == "of the host\n"
	})
	n.equal("another", "of the guest\n", says(filepath.Join(dir, "second")))
	n.want(0, "port", "rm", "a", out, filepath.Join(dir, "second")+":/run/served")
	n.until("one that was removed", func() bool { _, _, code := n.run("exec", "a", "--", "test", "-e", "/tmp/out"); return code == 1 })
	if _, err := os.Lstat(filepath.Join(dir, "second")); err == nil {
		t.Error("a socket that was removed is still there")
	}
	forwardsSocket(t, n)

	check(t, syscall.Kill(n.networkHelper("a"), syscall.SIGKILL))
	n.until("the guest's server after the network helper was killed", reached)
	n.until("the keys, too", func() bool { return keys("a") })
	killHelper(t, n, "a")
	n.want(0, "net", "deny", "a", "192.0.2.1") // which starts it again
	n.until("the guest's server after the helper was killed", reached)
	n.until("the keys, too", func() bool { return keys("a") })

	n.want(0, "checkpoint", "a", "--label", "one")
	n.until("the keys after a checkpoint", func() bool { return keys("a") })
	n.want(0, "restore", "a", "one", "--as", "b")
	n.until("a clone has no keys", func() bool {
		_, _, code := n.run("exec", "b", "--", "sh", "-c", `test -z "$SSH_AUTH_SOCK" && test ! -e /run/noid/ssh-agent.sock`)
		return code == 0
	})
	n.want(0, "destroy", "b")
	n.want(0, "restore", "--no-backup", "a", "one")
	n.until("the guest's server after a restore in place", reached)
	n.until("the keys, too", func() bool { return keys("a") })
	n.want(0, "stop", "--force", "a")
	n.until("no socket of a vm that is stopped", func() bool { _, err := os.Lstat(in); return err != nil })
	n.want(0, "start", "a")
	n.until("the keys after a start", func() bool { return keys("a") })
	killHelper(t, n, "a")
	n.want(0, "destroy", "a")
	if _, err := os.Lstat(in); err == nil {
		t.Error("the socket outlives its vm")
	}
}

// forwardsSocket looks whether a forward of a socket lasts as long as its command.
func forwardsSocket(t *testing.T, n noid) {
	t.Helper()
	cmd := n.cmd(t.Context(), "forward", "a", "/run/served")
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	check(t, err)
	path, _, _ := strings.Cut(line, ":")
	n.equal("a forward", "of the guest\n", says(path))
	check(t, cmd.Process.Signal(os.Interrupt))
	cmd.Wait()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket outlives its forward")
	}
}
