package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noid/internal/storage"
)

// TestGivenBack has a guest use memory and free most of it, where files share blocks: the freed part leaves the memory's
// file and is in no checkpoint, and what the guest has kept is in every clone.
func TestGivenBack(t *testing.T) {
	t.Parallel()
	if driver := os.Getenv("NOID_TEST_DRIVER"); driver != "" && driver != "qemu" {
		t.Skip("NOT RUN: only QEMU's guests report what they have freed")
	}
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: not root, who alone can mount file systems")
	}
	mnt := mountedSize(t, []string{"mkfs.btrfs", "-q"}, 1<<30)
	n := setup(t)
	n.moveTo(mnt)
	t.Cleanup(func() {
		n.run("destroy", "--checkpoints", "a")
		n.run("destroy", "b")
	})
	n.want(0, "create", "a", "--wait", "--cold", "--mem", "256")
	kept := n.want(0, "exec", "a", "--", "sh", "-c", `mkdir /root/m && mount -t tmpfs -o size=150M none /root/m && cd /root/m &&
		dd if=/dev/zero of=freed bs=1M count=100 2>/dev/null && dd if=/dev/urandom of=kept bs=1M count=4 2>/dev/null && rm freed && md5sum kept`)
	memory := filepath.Join(n.home, "storage/vms/a/memory")
	full, last := blocks(t, memory), int64(0)
	if full < 104<<20 {
		t.Fatalf("the memory has %d MiB before anything can be given back", full>>20)
	}
	for range 600 { // the guest's kernel reports a part every two seconds
		if last = blocks(t, memory); last < full-75<<20 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if last >= full-75<<20 {
		t.Fatalf("of %d MiB the guest's memory still has %d MiB, a minute after 100 were freed", full>>20, last>>20)
	}
	id := strings.TrimSpace(n.want(0, "checkpoint", "a"))
	if saved := blocks(t, filepath.Join(n.home, "storage/checkpoints/a", id, "memory.snap")); saved >= full-75<<20 {
		t.Errorf("the checkpoint has %d MiB of memory, of %d before", saved>>20, full>>20)
	}
	n.want(0, "restore", "a", id, "--as", "b")
	n.equal("what was kept, in the clone", kept, n.want(0, "exec", "b", "sh", "-c", "cd /root/m && md5sum kept"))
	n.equal("and in the source", kept, n.want(0, "exec", "a", "sh", "-c", "cd /root/m && md5sum kept"))
}

// blocks is how many bytes of disk the file path takes.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	_, onDisk, err := storage.Usage(path)
	check(t, err)
	return onDisk
}
