package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestBootsUnusual boots what used to die: a file system with quotas, one with a journal to replay, and a kernel
// named by a link elsewhere.
func TestBootsUnusual(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := setup(t)
	dir := t.TempDir()
	link, quota, replay := filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "quota.ext4"), filepath.Join(dir, "replay.ext4")
	if err := os.Symlink(os.Getenv("NOID_TEST_KERNEL"), link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{quota, replay} {
		if out, err := exec.Command("cp", "--sparse=always", os.Getenv("NOID_TEST_ROOTFS"), path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if out, err := exec.Command("/sbin/tune2fs", "-O", "quota", quota).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("/sbin/debugfs", "-w", "-R", "feature needs_recovery", replay).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, rootfs := range map[string]string{"quota": quota, "replay": replay} {
		n.want(0, "create", name, "--wait", "--kernel", link, "--rootfs", rootfs)
		n.equal("exec", "ok\n", n.want(0, "exec", name, "echo", "ok"))
	}
}
