package e2e

import (
	"context"
	"strings"
	"testing"
)

// TestRename renames a VM that runs: its guest goes on, what talks to it goes on, and the VM does all that a VM does.
func TestRename(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	n.want(0, "exec", "a", "--", "sh", "-c", "echo one >/root/f; sleep 100000 >/dev/null 2>&1 & echo $! >/root/pid; sync")
	n.want(0, "checkpoint", "a", "--label", "one")
	boot := n.want(0, "exec", "a", "cat", "/proc/sys/kernel/random/boot_id")

	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	during := n.cmd(ctx, "exec", "a", "--", "sh", "-c", "echo begun; while [ ! -e /root/go ]; do sleep 0.2; done; cat /root/f; exit 7")
	out, err := during.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := during.Start(); err != nil {
		t.Fatal(err)
	}
	begun := make([]byte, len("begun\n"))
	if _, err := out.Read(begun); err != nil {
		t.Fatal(err)
	}

	n.want(0, "rename", "a", "b")
	n.want(125, "exec", "a", "true") // no VM is called that any more
	n.equal("the guest", boot, n.want(0, "exec", "b", "cat", "/proc/sys/kernel/random/boot_id"))
	n.equal("its hostname", "a\n", n.want(0, "exec", "b", "hostname"))
	n.want(0, "checkpoint", "b", "--label", "two") // which breaks connections
	n.want(0, "exec", "b", "--", "sh", "-c", "kill -0 $(cat /root/pid) && echo two >/root/f && touch /root/go")
	rest := new(strings.Builder)
	for buf := make([]byte, 64); ; {
		k, err := out.Read(buf)
		rest.Write(buf[:k])
		if err != nil {
			break
		}
	}
	if during.Wait(); rest.String() != "two\n" || during.ProcessState.ExitCode() != 7 {
		t.Errorf("a command from before prints %q, exit %d", rest, during.ProcessState.ExitCode())
	}

	n.want(0, "pause", "b")
	n.want(0, "rename", "b", "c")
	n.equal("paused, renamed", "paused", n.state("c"))
	n.want(0, "resume", "c")
	n.want(0, "verify", "c", "--read-data")
	n.want(0, "restore", "c", "one")
	n.equal("back at one", "one\n", n.want(0, "exec", "c", "cat", "/root/f"))
	n.want(0, "fork", "c", "--as", "a")
	n.want(0, "stop", "c")
	n.want(0, "rename", "c", "d")
	n.want(0, "start", "d")
	n.equal("booted by its new name", "one\n", n.want(0, "exec", "d", "cat", "/root/f"))
}
