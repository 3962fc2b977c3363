package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestTimeMachine: commands that break a guest are taken back with its processes and what is in memory alone, and done again;
// what fails is as if it had never been.
func TestTimeMachine(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "a", "--wait", "--auto", "exec")
	n.want(0, "exec", "-d", "a", "--", "sleep", "4242")
	n.want(0, "exec", "a", "--", "sh", "-c", "echo kept >/root/f; echo memory >/dev/shm/m; sync")
	n.want(0, "exec", "a", "--", "sh", "-c", "rm -rf /root/f /dev/shm/m /bin/vi; killall sleep; sync")
	n.want(0, "undo", "a")
	n.want(0, "auto", "a", "off")
	whole := func(after string) {
		t.Helper()
		n.equal(after, "kept\nmemory\n", n.want(0, "exec", "a", "--", "sh", "-c", "cat /root/f /dev/shm/m; pidof sleep >/dev/null"))
	}
	whole("after an undo")
	id := strings.TrimSpace(n.want(0, "checkpoint", "a"))

	n.want(3, "try", "a", "--", "sh", "-c", "rm -rf /root/f /dev/shm/m; exit 3")
	whole("after a try that failed")
	n.want(124, "try", "--timeout", "1s", "a", "--", "sh", "-c", "rm /root/f; sleep 1000")
	whole("after a try that took too long")
	n.want(0, "try", "a", "--", "sh", "-c", "echo more >>/root/f")
	n.equal("after a try that went well", "kept\nmore\n", n.want(0, "exec", "a", "cat", "/root/f"))
	n.want(0, "undo", "a")
	n.want(0, "redo", "a")
	n.equal("after undo and redo", "kept\nmore\n", n.want(0, "exec", "a", "cat", "/root/f"))

	// While something happens in the guest, a checkpoint comes by itself; in one that is idle, none.
	n.want(0, "auto", "a", "10s")
	n.want(0, "exec", "-d", "a", "--", "sh", "-c", "while :; do echo x >>/root/g; sleep 1; done")
	var h struct {
		Now         string
		Checkpoints []struct{ ID, By, Command string }
	}
	n.until("a checkpoint is made by itself", func() bool {
		if err := json.Unmarshal([]byte(n.want(0, "log", "--json", "a")), &h); err != nil {
			t.Fatal(err)
		}
		return h.Checkpoints[0].By == "auto" && h.Checkpoints[0].Command == ""
	})
	n.equal("the checkpoint that the VM was kept as last", h.Checkpoints[0].ID, h.Now)

	n.want(0, "pin", "a", id)
	n.want(0, "prune", "a", "--keep-last", "1")
	if left := strings.Fields(n.want(0, "checkpoints", "-q", "a")); len(left) != 2 || !slices.Contains(left, id) {
		t.Errorf("%q are left, want the newest and %s, which is pinned", left, id)
	}
}

// TestExplore: variants run in clones that nobody sees afterwards; one of them becomes the VM; a bisection names what
// broke it.
func TestExplore(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	n.want(0, "explore", "a", "-n", "3", "--jobs", "2", "--", "sh", "-c", "echo {} >/dev/shm/variant; test {} != 2")
	n.equal("the vms", "a\n", n.want(0, "list", "-q"))
	n.want(0, "keep", "a", "3")
	n.equal("what was kept", "3\n", n.want(0, "exec", "a", "cat", "/dev/shm/variant"))
	n.want(0, "undo", "a", "2")
	n.want(1, "exec", "a", "cat", "/dev/shm/variant")

	n.want(0, "auto", "a", "exec")
	var h struct{ Now string }
	if err := json.Unmarshal([]byte(n.want(0, "log", "--json", "a")), &h); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"echo fine >/root/1", "rm -f /bin/vi", "echo fine >/root/2"} {
		n.want(0, "exec", "a", "--", "sh", "-c", command)
	}
	bad := strings.TrimSpace(n.want(0, "checkpoint", "a"))
	if out := n.want(0, "bisect", "a", "--good", h.Now, "--bad", bad, "--", "test", "-e", "/bin/vi"); !strings.Contains(out, "it came after: sh -c rm -f /bin/vi\n") {
		t.Errorf("bisect said %q", out)
	}
}
