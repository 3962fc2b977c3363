package e2e

import (
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"
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
	n.triesAndAsks()
	whole("after a try that was not kept")
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

// triesAndAsks has try show on a terminal what a command did, and refuses it.
func (n noid) triesAndAsks() {
	n.t.Helper()
	cmd := n.cmd(n.t.Context(), "try", "--ask", "a", "--", "sh", "-c", "echo asked >>/root/f")
	tty, err := pty.Start(cmd)
	if err != nil {
		n.t.Fatal(err)
	}
	defer tty.Close()
	var shown screen
	go io.Copy(&shown, tty)
	for _, step := range [][2]string{{"M /root/f | 5 -> 11 bytes\r\n", ""}, {"Keep it?", "d\r"}, {" kept\r\n+asked\r\n", "n\r"}, {"is as it was before", ""}} {
		n.until("terminal shows "+step[0], func() bool { return strings.Contains(shown.String(), step[0]) })
		io.WriteString(tty, step[1])
	}
	if err := cmd.Wait(); err != nil {
		n.t.Errorf("%v: %s", err, shown.String())
	}
}

// TestExplore: variants run in clones that nobody sees afterwards; one of them becomes the VM; a bisection names what
// broke it.
func TestExplore(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	rows := n.want(0, "explore", "a", "-n", "3", "--jobs", "2", "--changes", "--", "sh", "-c", "echo {} >/dev/shm/variant; touch /root/$(seq -s ' /root/' {}); test {} != 2")
	for variant, changes := range []string{1: "1", 2: "2", 3: "3"} {
		if row := regexp.MustCompile(`(?m)^\| ` + strconv.Itoa(variant) + ` .*$`).FindString(rows); variant > 0 && strings.TrimSpace(strings.Split(row+"||||||", "|")[6]) != changes {
			t.Errorf("variant %d has not changed %s files:\n%s", variant, changes, rows)
		}
	}
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
