package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnmount: once the last VM is destroyed, nothing of noid's keeps the home's file system busy.
func TestUnmount(t *testing.T) {
	t.Parallel()
	n := setup(t)
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: not root, who alone can mount file systems")
	}
	mnt := mountedSize(t, []string{"mkfs.ext4", "-q", "-m", "0"}, 1<<30)
	rootfs := strings.TrimSpace(n.want(0, "config", "get", "rootfs"))
	n.home = filepath.Join(mnt, "home")
	n.want(0, "config", "set", "rootfs", rootfs)
	n.tiny("a")
	n.want(0, "fork", "a", "--as", "b")
	n.want(0, "destroy", "a", "b")
	// With MNT_EXPIRE, the first call only looks: EAGAIN if nobody uses the file system, EBUSY otherwise.
	if err := unix.Unmount(mnt, unix.MNT_EXPIRE); err != unix.EAGAIN {
		t.Errorf("after the last VM was destroyed: %v", err)
	}
}
