package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tree has the files of the tests' root file system in a directory, as an image.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("/sbin/debugfs", "-R", "rdump / "+dir, os.Getenv("NOID_TEST_ROOTFS"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	os.Remove(filepath.Join(dir, "lost+found"))
	return dir
}

// TestImage makes VMs of an image, which may go while they live.
func TestImage(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := setup(t)
	image := "dir:" + tree(t)
	n.want(0, "create", "a", "--image", image, "--wait")
	n.equal("the root", "overlay\n", n.want(0, "exec", "a", "--", "sh", "-c", "awk '$2 == \"/\" {print $3}' /proc/mounts"))
	n.want(0, "config", "set", "image", image)
	n.want(0, "create", "b")
	if !n.warm("b") {
		t.Error("the second VM of an image is booted")
	}
	n.want(2, "create", "c", "--image", image, "--rootfs", os.Getenv("NOID_TEST_ROOTFS"))
	n.want(2, "create", "c", "--rootfs", os.Getenv("NOID_TEST_ROOTFS"), "--flat")
	n.want(2, "create", "c", "--image", image, "--disk", "1")
	n.want(0, "create", "rootfs", "--rootfs", os.Getenv("NOID_TEST_ROOTFS"), "--disk", "1G")
	n.want(0, "create", "flat", "--flat", "--disk", "512")
	for name, want := range map[string]string{"rootfs": "ext4 1\n", "flat": "ext4 1\n", "b": "overlay 1\n"} {
		n.equal("the root of "+name, want, n.want(0, "exec", name, "--", "sh", "-c",
			`echo "$(awk '$2 == "/" {t = $3} END {print t}' /proc/mounts) $(df -m / | awk 'NR == 2 {print ($2 > 400)}')"`))
	}
	n.want(0, "destroy", "rootfs", "flat")
	var vm struct {
		MemMiB  int `json:"mem_mib"`
		DiskMiB int `json:"disk_mib"`
		Image   struct {
			Digest string
			Refs   []string
		}
	}
	if err := json.Unmarshal([]byte(n.want(0, "inspect", "b")), &vm); err != nil {
		t.Fatal(err)
	}
	if vm.MemMiB != 1024 || vm.DiskMiB != 8192 || len(vm.Image.Refs) != 1 || vm.Image.Refs[0] != image {
		t.Errorf("inspect: %+v", vm)
	}
	n.want(0, "exec", "b", "--", "sh", "-c", "echo mine >/root/f; sync")
	id := strings.TrimSpace(n.want(0, "checkpoint", "b"))
	n.want(0, "image", "rm", image)
	n.want(0, "verify", "--read-data")
	n.want(0, "restore", "b", id, "--as", "c")
	n.equal("a clone of an image that is gone", "mine\n", n.want(0, "exec", "c", "cat", "/root/f"))
	n.want(0, "stop", "c")
	n.want(0, "resize", "c", "--disk", "9G")
	n.want(2, "resize", "c", "--disk", "8G")
	n.want(0, "start", "c")
	n.equal("its disk", "mine\n1\n", n.want(0, "exec", "c", "--", "sh", "-c", "cat /root/f; df -m / | awk 'NR == 2 {print ($2 > 8400)}'"))
	bases, err := filepath.Glob(filepath.Join(n.home, "storage/*/*/base.ext4"))
	more, err2 := filepath.Glob(filepath.Join(n.home, "storage/checkpoints/*/*/base.ext4"))
	if bases = append(bases, more...); err != nil || err2 != nil || len(bases) != 4 { // three VMs and a checkpoint: the template went with the image
		t.Fatalf("the bases are %v, %v, %v", bases, err, err2)
	}
	first, err := os.Stat(bases[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range bases[1:] {
		if info, err := os.Stat(path); err != nil || !os.SameFile(first, info) {
			t.Errorf("%s is a copy, %v", path, err)
		}
	}
	n.want(0, "destroy", "--checkpoints", "a", "b", "c")
}
