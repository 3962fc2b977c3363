package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFullDisk fills the disk under running VMs, one whose blocks are reserved and one that shares them with a
// checkpoint. Every verb fails with words and leaves nothing behind, what makes room works, and then all goes on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if driver := os.Getenv("NOID_TEST_DRIVER"); driver != "" && driver != "qemu" {
		t.Skip("NOT RUN: it is about how QEMU keeps memory")
	}
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: not root, who alone can mount file systems")
	}
	for _, mkfs := range [][]string{{"mkfs.ext4", "-q", "-m", "0"}, {"mkfs.btrfs", "-q"}} {
		t.Run(strings.TrimPrefix(mkfs[0], "mkfs."), func(t *testing.T) { fullDisk(t, mkfs) })
	}
}

// mounted returns a small new file system of its own.
func mounted(t *testing.T, mkfs []string) string {
	t.Helper()
	return mountedSize(t, mkfs, 1<<30)
}

// mountedSize is mounted with a size in bytes.
func mountedSize(t testing.TB, mkfs []string, size int64) string {
	t.Helper()
	dir := t.TempDir()
	image, mnt := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size), os.Mkdir(mnt, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{append(mkfs[:len(mkfs):len(mkfs)], image), {"mount", "-o", "loop", image, mnt}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("NOT RUN: %v: %v: %s", argv, err, out)
		}
	}
	t.Cleanup(func() {
		for range 100 { // the last helper goes a moment after its VMM
			if err := unix.Unmount(mnt, 0); err == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("%s cannot be unmounted: %v", mnt, unix.Unmount(mnt, unix.MNT_DETACH))
	})
	return mnt
}

// fill leaves no byte free. Not at full speed: where noid has to look, it needs the time to.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	full := 0
	for size := 4 << 20; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, unix.ENOSPC) && size > 4096:
			size = 4096
		case errors.Is(err, unix.ENOSPC):
			f.Sync() // what was promised to writers and not needed is free again
			if full++; full == 3 {
				return
			}
		case err != nil:
			t.Fatal(err)
		case size > 4096:
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func fullDisk(t *testing.T, mkfs []string) {
	mnt := mounted(t, mkfs)
	shares := mkfs[0] == "mkfs.btrfs"
	n := setup(t)
	n.moveTo(mnt)
	t.Cleanup(func() {
		for _, name := range []string{"a", "m", "s", "x", "y"} {
			n.run("destroy", "--checkpoints", name)
		}
	})
	n.tiny("s")
	n.want(0, "stop", "--force", "s")
	n.tiny("m")
	n.answers("m", "s kept", "token kept")
	n.want(0, "checkpoint", "m", "--label", "before")
	n.want(0, "create", "a", "--wait")
	n.want(0, "exec", "a", "--", "sh", "-c", "echo kept >/root/f; dd if=/dev/zero of=/tmp/20M bs=1M count=20; sync")
	if !shares { // a journal that still grows into a hole of the disk would pause it before it is asked
		n.want(0, "exec", "a", "mount", "-o", "remount,ro", "/")
	}
	n.want(0, "checkpoint", "a", "--label", "before")

	filler := filepath.Join(mnt, "filler")
	fill(t, filler)
	if shares {
		n.waitState("m", "paused")
		n.waitState("a", "paused")
		n.pausedForSpace("a")
		n.want(0, "pause", "m") // no longer for want of space: a guest that runs now takes its VMM down
		n.pausedAgain("m")
	} else {
		n.answers("m", "d 40", "") // pages that it never touched before
		n.equal("exec", "kept\n", n.want(0, "exec", "a", "cat", "/root/f"))
		n.full("cp", "a:/tmp/20M", filepath.Join(mnt, "20M"))
		// Its disk has holes, and nothing to fill them with.
		n.run("exec", "--timeout", "5s", "a", "--", "sh", "-c", "mount -o remount,rw /; dd if=/dev/zero of=/root/big bs=1M count=50; sync")
		n.waitState("a", "paused")
		n.pausedForSpace("a")
	}
	n.want(0, "list")
	n.want(0, "checkpoints", "a")
	for _, args := range [][]string{{"create", "x"}, {"checkpoint", "m"}, {"checkpoint", "a"}, {"restore", "m", "before"}, {"restore", "m", "before", "--as", "y"},
		{"start", "s"}, {"pause", "m"}, {"resume", "m"}, {"config", "set", "mem", "256"}, {"config", "unset", "mem"}} {
		n.fullOrDone(args...)
	}
	n.nothingLeft()
	if n.state("s") == "running" {
		n.want(0, "stop", "--force", "s")
	}
	n.want(0, "forget", "m", "before")
	n.want(0, "destroy", "s")
	n.nothingLeft()

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"m", "a"} {
		n.waitState(name, "running")
	}
	n.answers("m", "g", "token kept")
	n.answers("m", "d 40", "")
	n.equal("after the disk was full", "kept\n", n.want(0, "exec", "a", "cat", "/root/f"))
	n.want(0, "exec", "a", "--", "sh", "-c", "rm /root/f; dd if=/dev/zero of=/root/big bs=1M count=50; sync")
	n.want(0, "restore", "a", "before", "--no-backup")
	n.equal("restored", "kept\n", n.want(0, "exec", "a", "cat", "/root/f"))
	n.want(0, "verify", "a", "--read-data")
	fill(t, filler)
	if shares {
		n.waitState("a", "paused")
	}
	n.want(0, "destroy", "--checkpoints", "a", "m")
	n.nothingLeft()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
}

// full runs noid, which says that there is no space.
func (n noid) full(args ...string) {
	n.t.Helper()
	if _, errs, code := n.run(args...); code != 7 || !strings.Contains(errs, "no space") {
		n.t.Errorf("noid %q on a full disk exits %d: %s", args, code, errs)
	}
}

// fullOrDone runs noid, which says that there is no space, or finds enough.
func (n noid) fullOrDone(args ...string) {
	n.t.Helper()
	_, errs, code := n.run(args...)
	n.t.Logf("noid %q: exit code %d: %s", args, code, errs)
	full := strings.Contains(errs, "no space") || strings.Contains(errs, "the disk is full")
	if code != 0 && (code != 7 || !full || !strings.Contains(errs, "hint: ")) {
		n.t.Errorf("noid %q on a full disk exits %d: %s", args, code, errs)
	}
}

// nothingLeft looks for what failed commands should have removed.
func (n noid) nothingLeft() {
	n.t.Helper()
	for _, path := range n.leftovers() {
		n.t.Errorf("left behind: %s", path)
	}
}

// pausedAgain insists that the VM name, which the user has paused, is not resumed on a full disk.
func (n noid) pausedAgain(name string) {
	n.t.Helper()
	_, errs, code := n.run("resume", name)
	if code != 7 || !strings.Contains(errs, "the disk is full") && !strings.Contains(errs, "no space") {
		n.t.Errorf("resume on a full disk: exit %d, %s", code, errs)
	}
	n.equal("its state", "paused", n.state(name))
}

// pausedForSpace has every verb say why the VM name is paused.
func (n noid) pausedForSpace(name string) {
	n.t.Helper()
	const why = "the disk is full"
	n.until("the reason of the pause", func() bool { return strings.Contains(n.want(0, "list", "--json"), `"paused_because": "`+why) })
	if out := n.want(0, "inspect", name); !strings.Contains(out, `"paused_because": "`+why) {
		n.t.Errorf("inspect does not say why the vm is paused: %s", out)
	}
	for verb, code := range map[string]int{"exec": 125, "resume": 7} {
		args := []string{verb, name, "true"}[:map[string]int{"exec": 3, "resume": 2}[verb]]
		_, errs, got := n.run(args...)
		if want := verb + `: vm "` + name + `" is paused: ` + why; got != code || !strings.Contains(errs, want) || !strings.Contains(errs, "hint: make room") {
			n.t.Errorf("noid %q: exit %d, stderr %q; want %d and %q", args, got, errs, code, want)
		}
	}
}

// TestNearlyFullDisk waits for a guest that has no room to boot: it is told so, and the VM goes on when there is.
func TestNearlyFullDisk(t *testing.T) {
	if driver := os.Getenv("NOID_TEST_DRIVER"); driver != "" && driver != "qemu" {
		t.Skip("NOT RUN: it is about how QEMU keeps memory")
	}
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: not root, who alone can mount file systems")
	}
	n := setup(t)
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=200m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(mnt, unix.MNT_DETACH) })
	n.moveTo(mnt)
	t.Cleanup(func() { n.run("destroy", "--checkpoints", "a") })
	_, errs, code := n.run("create", "a", "--wait")
	if code != 7 || !strings.Contains(errs, `create: vm "a" is paused: the disk is full`) {
		t.Errorf("create --wait: exit %d, %s", code, errs)
	}
	n.pausedForSpace("a")
	if err := unix.Mount("tmpfs", mnt, "tmpfs", unix.MS_REMOUNT, "size=800m"); err != nil {
		t.Fatal(err)
	}
	n.waitState("a", "running")
	n.equal("exec", "ok\n", n.want(0, "exec", "a", "echo", "ok"))
}
