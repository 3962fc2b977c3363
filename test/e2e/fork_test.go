package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFork makes copies of a running VM, of a paused one and of a checkpoint: as of one moment, each with an identity
// of its own, and a number that is free.
func TestFork(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	n.want(0, "exec", "a", "--", "sh", "-c", "echo one >/tmp/f; echo disk >/root/f; sleep 100000 >/dev/null 2>&1 & echo $! >/tmp/pid")
	n.want(0, "checkpoint", "a", "--label", "early")
	n.want(0, "exec", "a", "--", "sh", "-c", "echo two >/tmp/f")
	names := strings.Fields(n.want(0, "fork", "a", "-n", "3"))
	if len(names) != 3 {
		t.Fatalf("fork prints %q", names)
	}
	identity := map[string]bool{n.want(0, "exec", "a", "hostname"): true}
	for _, name := range []string{"a-1", "a-2", "a-3"} {
		n.equal(name+": memory and disk", "two\ndisk\n", n.want(0, "exec", name, "cat", "/tmp/f", "/root/f"))
		n.want(0, "exec", name, "--", "sh", "-c", "kill -0 $(cat /tmp/pid)")
		identity[n.want(0, "exec", name, "hostname")] = true
		n.want(0, "exec", name, "--", "sh", "-c", "echo "+name+" >/tmp/f")
	}
	if len(identity) != 4 {
		t.Errorf("source and clones have %d hostnames: %v", len(identity), identity)
	}
	for _, name := range []string{"a-1", "a-2", "a-3"} {
		n.equal("a clone's own memory", name+"\n", n.want(0, "exec", name, "cat", "/tmp/f"))
	}
	n.equal("the source", "two\n", n.want(0, "exec", "a", "cat", "/tmp/f"))
	n.equal("a clone of a clone", "x\n", n.want(0, "fork", "a-2", "--as", "x"))
	n.equal("its memory", "a-2\n", n.want(0, "exec", "x", "cat", "/tmp/f"))
	n.want(0, "checkpoint", "x", "--label", "own")
	n.want(0, "destroy", "--checkpoints", "a-2", "x")
	// Two numbers are taken: it takes the next ones.
	names = strings.Fields(n.want(0, "fork", "a@early", "-n", "3", "--prefix", "a-"))
	slices.Sort(names)
	if !slices.Equal(names, []string{"a-2", "a-4", "a-5"}) {
		t.Errorf("fork beside a-1 and a-3 makes %q", names)
	}
	n.equal("the clone of a checkpoint", "one\n", n.want(0, "exec", "a-2", "cat", "/tmp/f"))
	n.want(0, "pause", "a")
	n.want(0, "fork", "a", "--as", "p")
	n.equal("the source stays paused", "paused", n.state("a"))
	n.equal("the clone of a paused one", "two\n", n.want(0, "exec", "p", "cat", "/tmp/f"))
	n.want(0, "resume", "a")
	for _, c := range []struct {
		code int
		args []string
	}{
		{4, []string{"a", "--as", "p"}}, {3, []string{"nobody"}}, {3, []string{"a@nothing"}}, {2, []string{"a", "-n", "0"}}, {2, []string{"a", "-n", "1000000"}},
		{2, []string{"a", "--as", "q", "-n", "2"}}, {2, []string{"a", "--as", "../q"}}, {2, []string{"a", "-n", "2", "--prefix", "-"}}, {2, []string{"a", "--as", ""}}, {2, nil},
	} {
		n.want(c.code, append([]string{"fork"}, c.args...)...)
	}
	n.want(0, "stop", "--force", "a")
	n.want(5, "fork", "a")
	if left, _ := os.ReadDir(filepath.Join(n.home, "storage/checkpoints")); len(left) != 1 {
		t.Errorf("checkpoints are left of %v", left)
	}
}
