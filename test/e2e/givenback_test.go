package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"noid/internal/storage"
)

// TestGivenBack has a guest use memory and free most of it, where files share blocks: the freed part leaves the memory
// and is in no checkpoint, and what the guest has kept is in every clone.
func TestGivenBack(t *testing.T) {
	t.Parallel()
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
		dd if=/dev/zero of=freed bs=1M count=100 2>/dev/null && dd if=/dev/urandom of=kept bs=1M count=4 2>/dev/null && md5sum kept`)
	memory := n.memoryOf("a")
	full, last := memory(), int64(0)
	if full < 104<<20 {
		t.Fatalf("the memory has %d MiB before anything can be given back", full>>20)
	}
	n.want(0, "exec", "a", "rm", "/root/m/freed")
	n.until("75 of the 100 MiB that were freed are given back", func() bool { // the guest's kernel reports a part every two seconds
		last = memory()
		return last < full-75<<20
	})
	id := strings.TrimSpace(n.want(0, "checkpoint", "a"))
	if saved := blocks(t, filepath.Join(n.home, "storage/checkpoints/a", id, "memory.snap")); saved >= full-75<<20 {
		t.Errorf("the checkpoint has %d MiB of memory, of %d before", saved>>20, full>>20)
	}
	n.want(0, "restore", "a", id, "--as", "b")
	n.equal("what was kept, in the clone", kept, n.want(0, "exec", "b", "sh", "-c", "cd /root/m && md5sum kept"))
	n.equal("and in the source", kept, n.want(0, "exec", "a", "sh", "-c", "cd /root/m && md5sum kept"))
}

// blocks is how many bytes of disk the file path takes.
func blocks(t testing.TB, path string) int64 {
	t.Helper()
	_, onDisk, err := storage.Usage(path)
	check(t, err)
	return onDisk
}

// memoryOf returns what says how many bytes the memory of the guest called name takes of the host: of the disk with QEMU,
// which has it in a file, of memory with Firecracker.
func (n noid) memoryOf(name string) func() int64 {
	if os.Getenv("NOID_TEST_DRIVER") != "firecracker" {
		return func() int64 { return blocks(n.t, filepath.Join(n.home, "storage/vms", name, "memory")) }
	}
	var vm struct{ PID int }
	check(n.t, json.Unmarshal([]byte(n.want(0, "inspect", name)), &vm))
	return func() int64 {
		n.t.Helper()
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", vm.PID))
		check(n.t, err)
		_, anon, _ := strings.Cut(string(status), "RssAnon:")
		var kib int64
		_, err = fmt.Sscan(anon, &kib)
		check(n.t, err)
		return kib << 10
	}
}

// TestZeros has the tiny guest of Firecracker write zeros over what it has written, as Firecracker does with what a guest
// has given back: a checkpoint has no blocks for them, and is no less whole. The next one is a Diff on it.
func TestZeros(t *testing.T) {
	t.Parallel()
	n := withFirecracker(t)
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: not root, who alone can mount file systems")
	}
	n.moveTo(mountedSize(t, []string{"mkfs.btrfs", "-q"}, 1<<30))
	t.Cleanup(func() {
		n.run("destroy", "--checkpoints", "a")
		n.run("destroy", "b")
	})
	n.tiny("a")
	saved := func(label string) int64 {
		t.Helper()
		id := strings.TrimSpace(n.want(0, "checkpoint", "a", "--label", label))
		base, err := filepath.Glob(filepath.Join(n.home, "storage/vms/a/memory.base.*"))
		check(t, err)
		path := filepath.Join(n.home, "storage/checkpoints/a", id, "memory.snap")
		info, err := os.Lstat(path)
		check(t, err)
		if len(base) != 1 || !strings.HasSuffix(base[0], fmt.Sprintf(".%d", info.ModTime().UnixNano())) {
			t.Errorf("after %q of %v the base is %q", label, info.ModTime().UnixNano(), base)
		}
		return blocks(t, path)
	}
	n.answers("a", "s kept", "token kept")
	n.answers("a", "d 40", "dirty 40")
	if got := saved("full"); got < 40<<20 {
		t.Errorf("with 40 MiB written the checkpoint has %d", got>>20)
	}
	n.answers("a", "z 38", "dirty 38")
	if got := saved("zeros"); got > 4<<20 {
		t.Errorf("with 2 MiB left of them the checkpoint has %d", got>>20)
	}
	n.answers("a", "d 8", "dirty 8")
	n.answers("a", "s later", "token later")
	if got := saved("again"); got < 10<<20 || got > 14<<20 {
		t.Errorf("with 8 MiB written again and 2 left the checkpoint has %d", got>>20)
	}
	n.want(0, "verify", "a", "--read-data")
	for label, want := range map[string]string{"full": "kept", "zeros": "kept", "again": "later"} {
		n.want(0, "restore", "a", label, "--as", "b")
		n.answers("b", "g", "token "+want)
		n.want(0, "destroy", "b")
	}
}
