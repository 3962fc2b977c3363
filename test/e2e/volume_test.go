package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// onExt4 gives n a new home on an ext4 of 6 GiB, with n's defaults.
func (n *noid) onExt4() {
	n.t.Helper()
	if os.Getuid() != 0 {
		n.t.Skip("NOT RUN: not root, who alone can mount file systems")
	}
	mnt := mountedSize(n.t, []string{"mkfs.ext4", "-q", "-m", "0"}, 6<<30)
	n.moveTo(mnt)
	home := n.home
	n.t.Cleanup(func() { // before the ext4 is unmounted
		for _, dir := range []string{"storage", ".volume/mnt"} {
			for range 100 {
				if err := unix.Unmount(filepath.Join(home, dir), 0); !errors.Is(err, unix.EBUSY) {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
	})
}

// reboot does to the home what a reboot does. No VM may run.
func (n noid) reboot() {
	n.t.Helper()
	var err error
	for range 100 { // the last helper goes a moment after its VMM
		if err = unix.Unmount(filepath.Join(n.home, "storage"), 0); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	n.t.Fatal(err)
}

// used returns how many bytes of its file system dir's are in use.
func used(t *testing.T, dir string) int64 {
	t.Helper()
	unix.Sync()
	var st unix.Statfs_t
	check(t, unix.Statfs(dir, &st))
	return int64(st.Blocks-st.Bfree) * st.Bsize
}

// TestVolume lives on a file system without reflinks: storage goes into a btrfs volume and out of it.
func TestVolume(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.onExt4()
	storage := filepath.Join(n.home, "storage")
	images := filepath.Join(n.home, "images/own.ext4")
	if out, err := exec.Command("cp", "--sparse=always", strings.TrimSpace(n.want(0, "config", "get", "rootfs")), images).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.want(0, "config", "set", "rootfs", images)
	if out := n.want2("doctor"); !strings.Contains(out, "noid config set storage btrfs") {
		t.Errorf("doctor does not tell what would help:\n%s", out)
	}
	n.want(0, "create", "a", "--wait")
	n.want(0, "exec", "a", "--", "sh", "-c", "echo one >/root/f; dd if=/dev/urandom of=/root/100M bs=1M count=100; sync")
	n.want(0, "checkpoint", "a", "--label", "old")
	if _, text, code := n.run("setup", "--storage", "btrfs"); code != 5 || !strings.Contains(text, "not stopped: a") {
		t.Errorf("with a VM that runs: exit code %d: %s", code, text)
	}
	n.want(0, "stop", "--force", "a")
	n.want(2, "config", "set", "storage", "btrf")
	n.want(0, "config", "set", "storage", "btrfs")
	n.equal("the key", "btrfs\n", n.want(0, "config", "get", "storage"))
	n.want(0, "verify", "--read-data")
	if out := n.want2("doctor"); !strings.Contains(out, "✓ storage: btrfs volume of ") {
		t.Errorf("doctor does not tell of the volume:\n%s", out)
	}
	n.want(0, "start", "a")
	n.equal("the disk", "one\n", n.want(0, "exec", "a", "cat", "/root/f"))
	before := used(t, storage)
	n.want(0, "checkpoint", "a", "--label", "new")
	if own := (used(t, storage) - before) >> 20; own > 80 {
		t.Errorf("a checkpoint of a disk with 100 MiB of data takes %d MiB", own)
	} else {
		t.Logf("a checkpoint takes %d MiB", own)
	}
	before = used(t, storage)
	n.want(0, "create", "fresh")
	if own := (used(t, storage) - before) >> 20; own > 150 {
		t.Errorf("a new VM takes %d MiB", own)
	} else {
		t.Logf("a new VM, while it boots, takes %d MiB", own)
	}
	n.want(0, "destroy", "fresh")
	n.want(0, "restore", "a", "new", "--as", "b")
	n.equal("the clone's disk", "one\n", n.want(0, "exec", "b", "cat", "/root/f"))
	n.want(0, "destroy", "a", "b")

	n.reboot()
	if out := n.want(0, "checkpoints", "a"); !strings.Contains(out, "old") || !strings.Contains(out, "new") {
		t.Errorf("after a reboot the checkpoints are:\n%s", out)
	}
	n.reboot()
	n.want(0, "restore", "a", "old")
	n.equal("the old checkpoint's disk", "one\n", n.want(0, "exec", "a", "cat", "/root/f"))
	n.want(0, "stop", "--force", "a")
	n.want(0, "setup", "--undo-storage")
	n.equal("the key", "plain\n", n.want(0, "config", "get", "storage"))
	if _, err := os.Lstat(filepath.Join(n.home, "storage.btrfs")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the volume is not gone: %v", err)
	}
	n.want(0, "verify", "--read-data")
	n.want(0, "restore", "a", "new")
	n.equal("the new checkpoint's disk", "one\n", n.want(0, "exec", "a", "cat", "/root/f"))
	n.want(0, "checkpoint", "a", "--label", "again") // packed, as old is, and new is not
	n.want(0, "forget", "a", "old")
	n.want(0, "verify", "--read-data")
	n.want(0, "forget", "a", "new")
	n.want(0, "restore", "a", "again")
	n.equal("the last checkpoint's disk", "one\n", n.want(0, "exec", "a", "cat", "/root/f"))
	n.want(0, "destroy", "a", "--checkpoints")
}

// want2 runs doctor, whose exit code tells of other things.
func (n noid) want2(args ...string) string {
	n.t.Helper()
	out, _, _ := n.run(args...)
	return out
}

// TestVolumeOfUser: an ordinary user is told what root is to do, and can use what root has made.
func TestVolumeOfUser(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.onExt4()
	const user = 65534
	bin := filepath.Join(filepath.Dir(n.home), "noid")
	data, err := os.ReadFile(n.bin)
	check(t, err)
	check(t, errors.Join(os.WriteFile(bin, data, 0o755), os.Chmod(filepath.Dir(n.home), 0o777), os.RemoveAll(n.home)))
	for dir := filepath.Dir(n.home); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		check(t, os.Chmod(dir, 0o777))
	}
	as := func(args ...string) (string, int) {
		t.Helper()
		cmd := n.cmd(t.Context(), args...)
		cmd.Path, cmd.Dir = bin, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	wants := func(code int, word string, args ...string) {
		t.Helper()
		if out, got := as(args...); got != code || !strings.Contains(out, word) {
			t.Errorf("noid %q exits %d, not %d, or does not tell %q: %s", args, got, code, word, out)
		}
	}
	wants(0, "", "list")
	wants(7, "sudo NOID_HOME="+n.home+" noid config set storage btrfs", "config", "set", "storage", "btrfs")
	wants(0, "", "config", "set", "mem", "256")
	n.want(0, "config", "set", "storage", "btrfs")
	wants(0, "256", "config", "get", "mem")
	wants(0, "", "config", "set", "mem", "128")
	check(t, os.WriteFile(filepath.Join(n.home, "storage/vms/a"), nil, 0o600))
	check(t, os.Remove(filepath.Join(n.home, "storage/vms/a")))
	n.reboot()
	wants(7, "sudo NOID_HOME="+n.home+" noid config set storage btrfs", "list")
	n.want(7, "list") // root is not the user
	n.want(0, "config", "set", "storage", "btrfs")
	wants(0, "", "list")
	if out, code := as("setup", "--undo-storage"); code != 7 || !strings.Contains(out, "sudo NOID_HOME="+n.home+" noid setup --undo-storage") {
		t.Errorf("undo by the user: exit code %d: %s", code, out)
	}
	n.want(0, "setup", "--undo-storage")
	wants(0, "plain", "config", "get", "storage")
	for _, dir := range []string{"storage", "storage/vms", "images", "locks/.home.lock", "config.toml"} {
		info, err := os.Stat(filepath.Join(n.home, dir))
		if check(t, err); info.Sys().(*syscall.Stat_t).Uid != user {
			t.Errorf("%s is not the user's any more", dir)
		}
	}
}

// TestVolumeKilled kills the moves, there and back, and fails them, at each of their steps: the next command works,
// nothing is lost and the same move works then.
func TestVolumeKilled(t *testing.T) {
	t.Parallel()
	n := setup(t)
	fault := os.Getenv("NOID_TEST_FAULT_BIN")
	if fault == "" {
		t.Skip("NOT RUN: NOID_TEST_FAULT_BIN is not set ('make test' does)")
	}
	n.onExt4()
	vm, point := filepath.Join(n.home, "storage/vms/a"), filepath.Join(n.home, "storage/checkpoints/a/0123abcd")
	check(t, errors.Join(os.Mkdir(vm, 0o700), os.MkdirAll(point, 0o700)))
	for _, path := range []string{vm + "/rootfs.ext4", point + "/rootfs.ext4", n.home + "/images/i.ext4"} {
		check(t, os.WriteFile(path, []byte(strings.Repeat(path, 10_000)), 0o600))
	}
	check(t, errors.Join(os.Link(point+"/rootfs.ext4", vm+"/memory.snap"), os.Chmod(point, 0o500)))
	want := n.sums()

	trace := filepath.Join(t.TempDir(), "trace")
	run := func(to, order string) (int, string) {
		cmd := n.cmd(t.Context(), "config", "set", "storage", to)
		cmd.Path = fault
		cmd.Env = append(cmd.Env, "NOID_FAULT="+order)
		if order == "" {
			cmd.Env = append(cmd.Env, "NOID_FAULT_TRACE="+trace)
		}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	// steps lists the steps of the move to, which it makes, from package volume on.
	steps := func(to string) (list []string) {
		os.Remove(trace)
		if code, out := run(to, ""); code != 0 {
			t.Fatalf("moving to %s: exit code %d: %s", to, code, out)
		}
		text, err := os.ReadFile(trace)
		check(t, err)
		begun := false
		for line := range strings.Lines(string(text)) {
			f := strings.Split(strings.TrimSpace(line), "\t") // verb, site, count, kind
			begun = begun || strings.HasPrefix(f[1], "storage/volume/")
			if begun {
				list = append(list, "config "+f[2]+" "+f[1])
			}
		}
		return list
	}
	there, back := steps("btrfs"), steps("plain")
	if len(there) == 0 || len(back) == 0 {
		t.Fatal("the trace has no step of package volume")
	}
	t.Logf("%d steps there, %d back", len(there), len(back))
	killed, failed := 0, 0
	one := func(to, order string) {
		code, out := run(to, order)
		switch code {
		case -1:
			killed++
		case 0:
		default:
			failed++
		}
		n.want(0, "list")
		if got := n.sums(); !maps.Equal(got, want) {
			t.Fatalf("%s, to %s (exit code %d, %s): the contents are %v, not %v", order, to, code, out, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		if code, out := run(to, "kill none 1 none"); code != 0 {
			t.Fatalf("%s, to %s: then the move exits %d: %s", order, to, code, out)
		}
		if got := n.sums(); !maps.Equal(got, want) {
			t.Fatalf("%s, to %s: after another move the contents differ", order, to)
		}
		if _, err := os.Lstat(filepath.Join(n.home, ".volume")); err == nil {
			t.Errorf("%s, to %s: leftovers", order, to)
		}
		mounts, err := os.ReadFile("/proc/self/mounts")
		check(t, err)
		if got, want := strings.Count(string(mounts), " "+n.home+"/"), map[string]int{"btrfs": 1, "plain": 0}[to]; got != want {
			t.Fatalf("%s, to %s: %d mounts in the home", order, to, got)
		}
	}
	for _, action := range []string{"kill", "error:EIO"} {
		for i := range max(len(there), len(back)) {
			one("btrfs", action+" "+there[min(i, len(there)-1)])
			one("plain", action+" "+back[min(i, len(back)-1)])
		}
	}
	if t.Logf("%d were killed, %d failed", killed, failed); killed < len(there)+len(back) || failed < len(there)/2 {
		t.Error("some faults did not happen")
	}
	if loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file"); err == nil {
		for _, path := range loops {
			if file, _ := os.ReadFile(path); strings.Contains(string(file), n.home) {
				t.Errorf("a loop device stays: %s", file)
			}
		}
	}
}

// sums returns what is in the files of the home's storage and images, and how many names they have.
func (n noid) sums() map[string]string {
	n.t.Helper()
	all := map[string]string{}
	for _, tree := range []string{"storage/vms", "storage/checkpoints", "images/."} {
		err := filepath.WalkDir(n.home+"/"+tree, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil {
				all[strings.TrimPrefix(path, n.home)] = fmt.Sprintf("%x %v ", sha256.Sum256(data), info.Mode()) + strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Nlink), 10)
			}
			return err
		})
		if err != nil {
			n.t.Errorf("%v", err)
		}
	}
	return all
}
