package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestGivenBack: memory that a guest has used and freed leaves the disk, and the VM lives on, also as a clone.
func TestGivenBack(t *testing.T) {
	t.Parallel()
	if driver := os.Getenv("NOID_TEST_DRIVER"); driver != "" && driver != "qemu" {
		t.Skip("NOT RUN: it is about how QEMU keeps memory")
	}
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: not root, who alone can mount file systems")
	}
	n := setup(t)
	n.home = filepath.Join(mountedSize(t, []string{"mkfs.btrfs", "-q"}, 4<<30), "home")
	t.Cleanup(func() { n.run("destroy", "--checkpoints", "a", "b") })
	n.want(0, "config", "set", "kernel", os.Getenv("NOID_TEST_KERNEL"))
	n.want(0, "config", "set", "rootfs", os.Getenv("NOID_TEST_ROOTFS"))
	n.want(0, "create", "a", "--mem", "384", "--wait")
	onDisk := func(vm string) int64 {
		info, err := os.Stat(filepath.Join(n.home, "storage/vms", vm, "memory"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	const used = 160 << 20
	use := func(vm string) {
		n.want(0, "exec", vm, "--", "sh", "-c", "mkdir -p /root/m && mount -t tmpfs -o size=200M none /root/m && dd if=/dev/zero of=/root/m/f bs=1M count=160 2>/dev/null")
		before := onDisk(vm)
		if before < used {
			t.Errorf("%s has used %d MiB, and its memory takes %d of the disk", vm, used>>20, before>>20)
		}
		n.want(0, "exec", vm, "--", "umount", "/root/m")
		n.until("most of the memory has left the disk", func() bool { return onDisk(vm) < before-used/2 })
	}
	use("a")
	n.want(0, "checkpoint", "a", "--label", "after")
	n.want(0, "restore", "a", "after", "--as", "b")
	use("b")
	n.want(0, "exec", "a", "true")
}
