package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// brokenRootfs is a copy of the guests' root file system whose group descriptors are zeros: only its kernel sees that.
func brokenRootfs(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "broken.ext4")
	if out, err := exec.Command("cp", "--sparse=always", os.Getenv("NOID_TEST_ROOTFS"), path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 4096), 4096); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBootFails has guests that cannot mount their root file system. Who waits for one learns which VM it was and what
// its kernel said, with an agent and without.
func TestBootFails(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := setup(t)
	rootfs := brokenRootfs(t)
	says := func(verb, name string, code int, args ...string) {
		t.Helper()
		_, errs, got := n.run(args...)
		for _, want := range []string{verb + `: vm "` + name + `" is not running: it is stopped: its guest rebooted`, "noid-init: EXT4-fs (vda): group descriptors corrupted!", // what noid types on a console may be in the line
			"noid-init: mounting /dev/vda as ext4: ", "\nhint: 'noid logs " + name + "'"} {
			if got != code || !strings.Contains(errs, want) {
				t.Errorf("noid %q: exit %d, stderr %q; want %d and %q", args, got, errs, code, want)
			}
		}
	}
	says("create", "waits", 5, "create", "waits", "--wait", "--rootfs", rootfs)
	says("create", "console", 5, "create", "console", "--wait", "--no-agent", "--rootfs", rootfs)
	n.want(0, "create", "later", "--rootfs", rootfs)
	says("exec", "later", 125, "exec", "later", "true")
	says("exec", "later", 125, "exec", "later", "true")
}
