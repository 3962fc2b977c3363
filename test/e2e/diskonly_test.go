package e2e

import (
	"strings"
	"testing"
)

// TestDiskOnly boots the disk of a checkpoint: what was written right before is there, what was in memory alone is not, in
// place and as a new VM, which is somebody else.
func TestDiskOnly(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := hasCheckpoint(t)
	n.want(0, "exec", "a", "--", "sh", "-c", "echo just >/root/just; mkdir /root/d; dd if=/dev/zero of=/root/d/large bs=64k count=64 2>/dev/null")
	n.want(0, "checkpoint", "a", "--label", "two")
	if out := n.want(0, "checkpoints", "a", "--json"); strings.Count(out, `"synced": true`) != 2 {
		t.Errorf("not synced: %s", out)
	}
	n.want(0, "exec", "a", "--", "sh", "-c", "rm -r /root/just /root/d")
	const look = "cat /root/just; stat -c %s /root/d/large; test -e /dev/shm/f || echo no memory; hostname"
	n.want(0, "restore", "a", "two", "--as", "b", "--disk-only")
	n.equal("a new VM", "just\n4194304\nno memory\nb\n", n.want(0, "exec", "b", "--", "sh", "-c", look))
	n.want(0, "restore", "a", "two", "--disk-only")
	n.equal("in place", "just\n4194304\nno memory\na\n", n.want(0, "exec", "a", "--", "sh", "-c", look))
	if out := n.want(0, "checkpoints", "a"); !strings.Contains(out, "before restore to ") {
		t.Errorf("the state before is not kept: %s", out)
	}
}
