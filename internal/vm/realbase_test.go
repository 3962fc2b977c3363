package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/storage"
	"noid/internal/vmm"
	"noid/internal/vmm/drivers"
)

// real is a manager of real VMs in a home of its own.
type real struct {
	t *testing.T
	*Manager
}

func newReal(t *testing.T) real {
	t.Helper()
	if os.Getenv("NOID_TEST_KERNEL") == "" || os.Getenv("NOID_TEST_ROOTFS") == "" {
		t.Skip("NOT RUN: NOID_TEST_KERNEL and NOID_TEST_ROOTFS are not set ('make test' does)")
	}
	self, err := os.Executable()
	must(t, err)
	m, err := Open(t.Context(), filepath.Join(t.TempDir(), "home"), "test", false)
	must(t, err)
	m.HelperCommand = []string{self, asHelper}
	m.Drivers = drivers.New(drivers.Config{}, m.StartHelper)
	must(t, m.Home.Make())
	t.Cleanup(func() {
		names, _ := m.Home.VMNames()
		for _, name := range names {
			if log, err := os.ReadFile(filepath.Join(m.Home.VMDir(name), vmm.SerialLogFile)); err == nil && t.Failed() {
				t.Logf("the end of %s's console: %q", name, log[max(0, len(log)-2000):])
			}
			m.Destroy(context.Background(), name, true)
		}
		m.Close()
	})
	return real{t, m}
}

// base makes an image of an ext4, as the home keeps images, with what debugfs is told to put into it.
func (r real) base(rootfs string, commands ...string) string {
	r.t.Helper()
	path := filepath.Join(r.Home.ImagesDir(), "one", image.BaseFile)
	must(r.t, os.MkdirAll(filepath.Dir(path), 0o700))
	_, err := storage.Clone(r.t.Context(), path, rootfs)
	must(r.t, err)
	cmd := exec.Command("/sbin/debugfs", "-w", "-f", "-", path)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "not found") {
		r.t.Fatalf("debugfs: %v: %s", err, out)
	}
	must(r.t, os.Chmod(path, 0o400))
	return path
}

// create makes a VM of an image and waits for it.
func (r real) create(o CreateOptions) {
	r.t.Helper()
	o.Kernel, o.Wait = os.Getenv("NOID_TEST_KERNEL"), 4*time.Minute
	o.Image = &image.Image{Digest: "sha256:test", Config: image.Config{Env: []string{"A=b"}}}
	must(r.t, r.Create(r.t.Context(), o))
}

// sh runs a script in a guest and insists on what it writes.
func (r real) sh(name, script, want string) {
	r.t.Helper()
	r.run(name, want, "sh", "-ec", script)
}

func (r real) run(name, want string, argv ...string) {
	r.t.Helper()
	var out bytes.Buffer
	exit, err := r.Exec(r.t.Context(), name, Command{Argv: argv, Wait: 4 * time.Minute}, Streams{Out: &out, Err: &out})
	if err != nil || exit.Code != 0 || out.String() != want {
		r.t.Errorf("%s: %s:\n got %q, %+v, %v\nwant %q", name, argv[len(argv)-1], out.String(), exit, err, want)
	}
}

func inodeAt(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	return info.Sys().(*syscall.Stat_t).Ino
}

// oldThings puts a directory with a file of two names and a symbolic link out of the root into a base.
func oldThings(t *testing.T) []string {
	content := filepath.Join(t.TempDir(), "content")
	must(t, os.WriteFile(content, []byte("old\n"), 0o600))
	return []string{"mkdir old", "cd old", "write " + content + " one", "ln one two", "sif one links_count 2", "ea_set one user.note hello", "cd /",
		"mkdir var/lib/docker", "mkdir var/lib/kubelet", "cd var/lib/kubelet", "write " + content + " kept", "cd /",
		"symlink var/lib/containers ../../../../../../dev/shm", "symlink var/lib/containerd /old"}
}

// TestRealBase walks VMs through their lives that share a base: whatever is done to them, it stays as it was.
func TestRealBase(t *testing.T) {
	r, ctx := newReal(t), t.Context()
	base := r.base(os.Getenv("NOID_TEST_ROOTFS"), append([]string{"mkdir var", "mkdir var/lib"}, oldThings(t)...)...)
	before, err := storage.HashFile(ctx, base, 0)
	must(t, err)
	r.create(CreateOptions{Name: "a", Base: base})
	r.sh("a", "mount | grep -c ' on / type overlay '; df -m / | awk 'NR==2 {print ($2 > 7000)}'", "1\n1\n")
	// What one file system can do, this one can.
	r.sh("a", "mv /old /new; cat /new/one; echo new >>/new/one; cat /new/two; [ /new/one -ef /new/two ] && echo same", "old\nold\nnew\nsame\n")
	r.sh("a", "ln /new/two /three; rm /new/one; stat -c %h /three; echo more >>/three; cat /new/two", "2\nold\nnew\nmore\n")
	r.sh("a", "chmod 700 /bin; stat -c %a /bin; mkdir /d; mv /d /e; rmdir /e; stat -c %d /bin /three | uniq | wc -l", "700\n1\n")
	r.sh("a", "chmod 600 /new/two", "") // its data stays in the base, its attributes come with it
	there := filepath.Join(t.TempDir(), "there")
	must(t, r.Copy(ctx, []Place{{VM: "a", Path: "/new/two"}}, Place{Path: there}, CopyOptions{Owners: true, Wait: time.Minute}))
	note := make([]byte, 16)
	if n, err := unix.Getxattr(there, "user.note", note); err != nil || string(note[:n]) != "hello" {
		t.Errorf("an attribute of the image's file: %q, %v", note[:max(n, 0)], err)
	}
	// Container engines have directories on the disk itself; what the image has there, and what leads elsewhere, stays on
	// the overlay, which busybox does not know.
	r.sh("a", "cd /var/lib; stat -f -c %T docker kubelet .; ls kubelet; readlink containers; ls -A /dev/shm", "ext2/ext3\nUNKNOWN\nUNKNOWN\nkept\n../../../../../../dev/shm\n")
	r.sh("a", "mkdir /var/lib/docker/upper /var/lib/docker/work /mnt/o || mkdir -p /mnt/o; mount -t overlay overlay -o lowerdir=/bin,upperdir=/var/lib/docker/upper,workdir=/var/lib/docker/work /mnt/o; ls /mnt/o/sh; umount /mnt/o", "/mnt/o/sh\n")
	c, err := r.Checkpoint(ctx, "a", "")
	must(t, err)
	r.sh("a", "echo late >/late", "")
	must(t, r.Restore(ctx, "a", c.ID, RestoreOptions{As: "b"}))
	r.sh("b", "cat /new/two; ls /late 2>&1 | wc -l; echo b >/b", "old\nnew\nmore\n1\n")
	_, err = r.Fork(ctx, "b", "", ForkOptions{As: "c"}, func(_ string, err error) { must(t, err) })
	must(t, err)
	r.sh("c", "cat /b; echo c >/new/two", "b\n")
	must(t, r.Restore(ctx, "a", c.ID, RestoreOptions{NoBackup: true}))
	r.sh("a", "cat /new/two; sync; ls /late 2>&1 | wc -l", "old\nnew\nmore\n1\n")
	must(t, r.Stop(ctx, "a", false))
	must(t, r.Start(ctx, "a"))
	r.sh("a", "cat /new/two /three | uniq -c | wc -l; [ /new/two -ef /three ] && echo same", "6\nsame\n")
	must(t, r.Rename(ctx, "a", "d"))
	r.create(CreateOptions{Name: "e", Base: base}) // warm
	r.sh("e", "cat /old/one; ls / | grep -c new || true", "old\n0\n")
	d, err := r.Inspect(ctx, "e")
	must(t, err)
	if d.WarmFrom == nil || d.Machine.MemMiB != 1024 || d.Image == nil || d.Image.Config.Env[0] != "A=b" {
		t.Errorf("made of an image: %+v", d.VM)
	}
	inode := inodeAt(t, base)
	for _, dir := range []string{r.Home.VMDir("b"), r.Home.VMDir("c"), r.Home.VMDir("d"), r.Home.VMDir("e"), r.Home.CheckpointDir("d", c.ID)} {
		if inodeAt(t, filepath.Join(dir, vmm.BaseFile)) != inode {
			t.Errorf("%s has a copy of the base", dir)
		}
	}
	verdicts, err := r.Verify(ctx, "", "", true, nil)
	if err != nil || len(verdicts) != 1 || verdicts[0].Problem != nil {
		t.Errorf("verify: %+v, %v", verdicts, err)
	}
	must(t, os.Remove(base)) // the image may go
	must(t, r.Restore(ctx, "d", c.ID, RestoreOptions{As: "f"}))
	r.sh("f", "cat /new/two", "old\nnew\nmore\n")
	after, err := storage.HashFile(ctx, filepath.Join(r.Home.VMDir("f"), vmm.BaseFile), 0)
	if err != nil || after.Root() != before.Root() {
		t.Errorf("the base was written: %v", err)
	}
}

// mib is the size of a guest's root file system.
const mib = "df -m / | awk 'NR==2 {print ($2 > %d && $2 <= %d)}'"

// TestRealResize makes disks of both kinds larger, and fills what was won.
func TestRealResize(t *testing.T) {
	r, ctx := newReal(t), t.Context()
	base := r.base(os.Getenv("NOID_TEST_ROOTFS"))
	r.create(CreateOptions{Name: "layers", Base: base, DiskMiB: 512})
	r.create(CreateOptions{Name: "flat", Base: base, DiskMiB: 512, Flat: true})
	r.sh("flat", "mount | grep -c overlay || true; df -m / | awk 'NR==2 {print ($2 > 400)}'; echo x >/f; sync", "0\n1\n")
	for _, name := range []string{"layers", "flat"} {
		size := func(least, most int) {
			t.Helper()
			r.sh(name, fmt.Sprintf(mib, least, most), "1\n")
		}
		size(400, 512)
		must(t, r.Resize(ctx, name, 3<<10))
		size(2700, 3<<10)
		r.sh(name, "dd if=/dev/zero of=/big bs=1M seek=1500 count=1 2>/dev/null; sync; stat -c %s /big; rm /big", "1573912576\n")
		c, err := r.Checkpoint(ctx, name, "")
		must(t, err)
		if err := r.Resize(ctx, name, 2<<10); !errors.Is(err, errs.ErrUsage) {
			t.Errorf("a disk shrinks: %v", err)
		}
		must(t, r.Resize(ctx, name, 3<<10)) // as one that was killed is repeated
		must(t, r.Pause(ctx, name))
		if err := r.Resize(ctx, name, 4<<10); !errors.Is(err, errs.ErrState) {
			t.Errorf("of a paused VM: %v", err)
		}
		must(t, r.Resume(ctx, name))
		must(t, r.Stop(ctx, name, false))
		must(t, r.Resize(ctx, name, 40<<10))
		must(t, r.Start(ctx, name))
		size(35<<10, 40<<10) // of small files, a file system has many inodes
		must(t, r.Resize(ctx, name, 80<<10))
		size(70<<10, 80<<10)
		if _, taken, err := storage.Usage(filepath.Join(r.Home.VMDir(name), vmm.RootfsFile)); err != nil || taken > 1<<30 {
			t.Errorf("the disk of %s takes %d bytes, %v", name, taken, err)
		}
		must(t, r.Restore(ctx, name, c.ID, RestoreOptions{NoBackup: true}))
		size(2700, 3<<10)
		must(t, r.Resize(ctx, name, 5<<10))
		size(4700, 5<<10)
		must(t, r.Stop(ctx, name, false))
		file := filepath.Join(r.Home.VMDir(name), vmm.RootfsFile)
		exec.Command("/sbin/e2fsck", "-p", file).Run() // the journal
		if out, err := exec.Command("/sbin/e2fsck", "-fn", file).CombinedOutput(); err != nil {
			t.Errorf("%s: e2fsck: %v: %s", name, err, out)
		}
	}
}

// TestRealBaseInits boots bases with other inits than busybox's: systemd, Alpine's, and one with nothing but a program.
func TestRealBaseInits(t *testing.T) {
	for _, guest := range []struct {
		name, want string
		argv       []string
	}{
		{"systemd", "systemd\nz\nremoved\next2/ext3\noverlay\n", []string{"sh", "-ec", `
for i in $(seq 1200); do systemctl is-active -q multi-user.target 2>/dev/null && break; sleep 0.1; done; cat /proc/1/comm
mkdir -p /tmp/p/DEBIAN /tmp/p/opt/zz; printf 'Package: zz\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y>\nDescription: z\n' >/tmp/p/DEBIAN/control
echo z >/tmp/p/opt/zz/f; dpkg-deb -b /tmp/p /tmp/p.deb >/tmp/log 2>&1 || cat /tmp/log; dpkg -i /tmp/p.deb >/tmp/log 2>&1 || cat /tmp/log
cat /opt/zz/f; dpkg -r zz >/tmp/log 2>&1 || cat /tmp/log; [ ! -e /opt/zz ] && echo removed; dpkg --audit
mv /usr/share /usr/share2; mv /usr/share2 /usr/share; mount -o remount,rw /
stat -f -c %T /var/lib/docker; findmnt -no FSTYPE /; systemctl --failed --no-legend --plain`}},
		{"alpine", "init\noverlay\n", []string{"sh", "-ec",
			"cat /proc/1/comm; mv /bin /bin2; /bin2/busybox mv /bin2 /bin; awk '$2 == \"/\" {print $3}' /proc/mounts | tail -n 1"}},
		{"bare", "hello\n", []string{"/app"}},
	} {
		t.Run(guest.name, func(t *testing.T) {
			r, env := newReal(t), "NOID_TEST_ROOTFS_"+strings.ToUpper(guest.name)
			if os.Getenv(env) == "" {
				t.Skip("NOT RUN: " + env + " is not set ('make test' sets it where it can make one)")
			}
			r.create(CreateOptions{Name: "a", Base: r.base(os.Getenv(env))})
			r.run("a", guest.want, guest.argv...)
		})
	}
}
