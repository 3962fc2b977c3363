package e2e

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// asUser runs this test's program as an ordinary user, who sees it, noid, and the guest's files in the directory "$1" and
// may make network devices, as on most hosts.
const asUser = `mount --make-rprivate /
mknod "$1/tun" c 10 200; chmod 666 "$1/tun"; mount --bind "$1/tun" /dev/net/tun
see() { # PATH AS
  if [ -d "$1" ]; then mkdir "$2"; else : >"$2"; fi; mount --bind "$1" "$2"
}
kernels=$(dirname "$(dirname "$NOID_TEST_KERNEL")") # its modules are beside it
see "$kernels" "$1/kernels"; see "$NOID_TEST_ROOTFS" "$1/rootfs"; see "$NOID_TEST_BIN" "$1/noid"; see "$2" "$1/e2e.test"
mkdir "$1/tmp"; chmod 777 "$1/tmp"
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all \
  env TMPDIR="$1/tmp" HOME="$1/tmp" NOID_TEST_BIN="$1/noid" NOID_TEST_ROOTFS="$1/rootfs" NOID_TEST_KERNEL="$1/kernels${NOID_TEST_KERNEL#"$kernels"}" \
  "$1/e2e.test" -test.v "-test.run=$3"`

// TestNetworkAsUser is TestNetwork by a user who is not root, if this one is: the network needs no root.
func TestNetworkAsUser(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	setup(t)
	if os.Geteuid() != 0 {
		return // TestNetwork is that
	}
	testAsUser(t, "^TestNetwork$")
}

// testAsUser runs the tests that pattern names by a user who is not root.
func testAsUser(t *testing.T, pattern string) {
	dir, err := os.MkdirTemp("", "noid-user") // a test's own one has parents that are root's alone
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	own, err := os.Executable()
	check(t, err)
	cmd := exec.Command("sh", "-ec", asUser, "-", dir, own, pattern)
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Error(err)
	}
}
