package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestTouched: the first command after a restore notes what the guest has touched, and the next restore reads that ahead,
// by whatever is noted.
func TestTouched(t *testing.T) {
	t.Parallel()
	if driver := os.Getenv("NOID_TEST_DRIVER"); driver != "" && driver != "qemu" {
		t.Skip("NOT RUN: it looks at how QEMU keeps memory")
	}
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: not root, who alone can mount file systems")
	}
	n := setup(t)
	n.home = filepath.Join(mountedSize(t, []string{"mkfs.btrfs", "-q"}, 4<<30), "home")
	t.Cleanup(func() {
		n.run("destroy", "b")
		n.run("destroy", "--checkpoints", "a")
	})
	n.want(0, "config", "set", "kernel", os.Getenv("NOID_TEST_KERNEL"))
	n.want(0, "config", "set", "rootfs", os.Getenv("NOID_TEST_ROOTFS"))
	const mib = 192
	n.want(0, "create", "a", "--mem", "192", "--wait")
	n.want(0, "exec", "a", "--", "sh", "-c", "echo kept >/root/f")
	n.want(0, "checkpoint", "a", "--label", "one")
	found, err := filepath.Glob(filepath.Join(n.home, "storage/checkpoints/a/*"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	note := filepath.Join(found[0], "touched")
	memory := filepath.Join(n.home, "storage/vms/b/memory")
	// Its guest goes on to give back what it has freed, which is neither in the file nor in the page cache then.
	isAllRead := func() bool { return cached(t, memory) >= onDisk(memory) }
	restored := func() (allRead bool) {
		n.want(0, "restore", "a", "one", "--as", "b")
		allRead = isAllRead()
		n.equal("the clone", "kept\n", n.want(0, "exec", "b", "cat", "/root/f"))
		return allRead
	}
	restored()
	noted, err := os.ReadFile(note)
	if err != nil || len(noted) != mib<<20/(64<<10)/8 || bytes.Count(noted, []byte{0}) == len(noted) {
		t.Fatalf("what was touched: %x, %v", noted, err)
	}
	n.want(0, "destroy", "b")

	if err := os.WriteFile(note, bytes.Repeat([]byte{0xff}, 1<<20), 0o600); err != nil { // all that there is and more
		t.Fatal(err)
	}
	n.want(0, "restore", "a", "one", "--as", "b")
	n.until("all of the clone's memory is read ahead", isAllRead)
	n.equal("the clone", "kept\n", n.want(0, "exec", "b", "cat", "/root/f"))
	n.want(0, "destroy", "b")
	for what, make := range map[string]func() error{
		"a directory": func() error { return os.Mkdir(note, 0o700) },
		"a link":      func() error { return os.Symlink("/dev/zero", note) },
		"nothing":     func() error { return os.WriteFile(note, nil, 0o400) },
	} {
		err := os.Remove(note)
		if err == nil {
			err = make()
		}
		if err != nil {
			t.Fatal(err)
		}
		if restored() {
			t.Errorf("by %s, all memory is read ahead", what)
		}
		n.want(0, "destroy", "b")
	}
	n.want(0, "verify", "a", "--read-data")
	n.want(0, "forget", "a", "one")
	if _, err := os.Lstat(found[0]); !os.IsNotExist(err) {
		t.Errorf("after forget: %v", err)
	}
}

// cached returns how many bytes of the file path are in the page cache.
func cached(t *testing.T, path string) (bytes int64) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var whole struct{ off, len uint64 }
	var counts [5]uint64
	const cachestat = 451 // of every architecture, since Linux 6.5
	_, _, errno := unix.Syscall6(cachestat, f.Fd(), uintptr(unsafe.Pointer(&whole)), uintptr(unsafe.Pointer(&counts)), 0, 0, 0)
	if errno != 0 {
		t.Skip("NOT RUN: cachestat:", errno)
	}
	return int64(counts[0]) * int64(os.Getpagesize())
}
