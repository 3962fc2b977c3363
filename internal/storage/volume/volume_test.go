package volume

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/proc"
	"noid/internal/storage"
)

const gib = 1 << 30

// hostFS returns a new ext4 of size bytes, mounted.
func hostFS(t *testing.T, size int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: not root, who alone can mount file systems")
	}
	dir := t.TempDir()
	image, mnt := filepath.Join(dir, "ext4"), filepath.Join(dir, "mnt")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size), os.Mkdir(mnt, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, mnt}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("NOT RUN: %v, which needs loop devices: %v: %s", argv, err, out)
		}
	}
	t.Cleanup(func() {
		mounts, _ := os.ReadFile("/proc/self/mounts")
		for line := range strings.Lines(string(mounts)) {
			if place := strings.Fields(line)[1]; strings.HasPrefix(place, mnt+"/") {
				if err := unmount(place); err != nil {
					t.Error(err)
				}
			}
		}
		if err := unmount(mnt); err != nil {
			t.Error(err)
		}
	})
	return mnt
}

func mkfs(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("mkfs.btrfs")
	if err != nil {
		t.Skip("NOT RUN: no mkfs.btrfs")
	}
	return path
}

func must(t *testing.T, errors ...error) {
	t.Helper()
	for _, err := range errors {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func wantKind(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, wanted the kind %v", err, kind)
	}
	for _, word := range words {
		if text := err.Error() + " " + errs.Hint(err); !strings.Contains(text, word) {
			t.Errorf("%q does not tell %q", text, word)
		}
	}
}

// oldHome makes a home that has everything a home can have, as far as a move cares.
func oldHome(t *testing.T, dir string) *home.Home {
	t.Helper()
	h, err := home.Open(dir)
	must(t, err)
	t.Cleanup(func() { h.Close() })
	vm, point := h.VMDir("a"), h.CheckpointDir("a", "0123abcd")
	must(t, os.Mkdir(vm, 0o700), os.MkdirAll(point, 0o700))
	must(t, h.SaveVM(vm, home.VM{Name: "a", CreatedAt: time.Now()}))
	sparse := func(path string) {
		f, err := os.Create(path)
		must(t, err)
		must(t, f.Truncate(64<<20))
		for _, off := range []int64{0, 10 << 20, 60 << 20} {
			_, err := f.WriteAt(bytes.Repeat([]byte(filepath.Base(path)), 100_000), off)
			must(t, err)
		}
		must(t, f.Close())
	}
	sparse(filepath.Join(vm, "rootfs.ext4"))
	sparse(filepath.Join(point, "rootfs.ext4"))
	sparse(filepath.Join(point, "memory.snap"))
	sparse(filepath.Join(h.ImagesDir(), "busybox.ext4"))
	must(t, os.Link(filepath.Join(point, "memory.snap"), filepath.Join(vm, "memory.snap")))
	must(t, unix.Mkfifo(filepath.Join(vm, "serial.in"), 0o600))
	must(t, os.Symlink("nowhere", filepath.Join(vm, "link")), os.Mkdir(filepath.Join(vm, "empty"), 0o750))
	must(t, os.Chmod(filepath.Join(point, "memory.snap"), 0o400), os.Chmod(point, 0o500), os.Lchown(filepath.Join(vm, "link"), 12, 34))
	must(t, os.Chtimes(filepath.Join(vm, "rootfs.ext4"), time.Unix(1e9, 123), time.Unix(1e9, 456)))
	return h
}

// contents tells all that a move must keep, by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, tree := range []string{storageDir + "/vms", storageDir + "/checkpoints", storageDir + "/templates", imagesDir + "/."} {
		err := filepath.WalkDir(dir+"/"+tree, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			st := info.Sys().(*syscall.Stat_t)
			text := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
			switch {
			case d.Type().IsRegular():
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				text += fmt.Sprintf(" %d names, %v, %x", st.Nlink, info.ModTime().UnixNano(), sha256.Sum256(data))
			case d.Type() == fs.ModeSymlink:
				to, _ := os.Readlink(path)
				text += " to " + to
			}
			all[strings.TrimPrefix(path, dir+"/")] = text
			return nil
		})
		must(t, err)
	}
	return all
}

func same(t *testing.T, when string, want, got map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s the contents differ (-want +got):\n%s", when, diff)
	}
}

func mountsOn(t *testing.T, dir string) (n int) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Fields(line)[1] == dir {
			n++
		}
	}
	return n
}

func TestThereAndBack(t *testing.T) {
	ctx, mkfs := context.Background(), mkfs(t)
	dir := filepath.Join(hostFS(t, 4*gib), "home")
	h := oldHome(t, dir)
	want := contents(t, dir)
	must(t, Make(ctx, h, "test", mkfs))
	same(t, "in the volume", want, contents(t, dir))
	if text, err := os.Readlink(h.ImagesDir()); err != nil || text != "storage/images" {
		t.Errorf("images is a link to %q: %v", text, err)
	}
	_, err := storage.Clone(ctx, filepath.Join(h.VMsDir(), "clone"), filepath.Join(h.ImagesDir(), "busybox.ext4"))
	must(t, err, os.Remove(filepath.Join(h.VMsDir(), "clone")))
	if shares, err := storage.Reflinks(h.VMsDir()); err != nil || !shares {
		t.Errorf("the volume has no reflinks: %v", err)
	}
	occupied, err := storage.Occupy(ctx, h.VMDir("a"), nil)
	taken := occupied.Total()
	if must(t, err); taken > 10<<20 {
		t.Errorf("sparse files take %d MiB in the volume", taken>>20)
	}
	if exists(filepath.Join(dir, workDir)) {
		t.Error("the move leaves its directory")
	}
	must(t, Make(ctx, h, "test", mkfs)) // again is nothing

	must(t, unmount(filepath.Join(dir, storageDir))) // as a reboot
	if err := os.MkdirAll(h.VMsDir(), 0o700); err == nil {
		t.Error("directories can be made below an unmounted volume")
	}
	if _, err := home.Open(dir); err == nil {
		t.Error("a home whose volume is not mounted opens")
	}
	image := filepath.Join(dir, imageFile)
	must(t, Missing(dir), os.Rename(image, image+"x"))
	wantKind(t, Missing(dir), errs.ErrHost, "gone")
	must(t, os.Rename(image+"x", image))
	must(t, Ready(ctx, dir, "test"))
	same(t, "mounted again,", want, contents(t, dir))

	moved := dir + "-moved"
	must(t, os.Rename(dir, moved), Ready(ctx, moved, "test"))
	same(t, "in a home that was moved", want, contents(t, moved))
	must(t, os.Rename(moved, dir))

	must(t, Unmake(ctx, h, "test"))
	same(t, "back from the volume", want, contents(t, dir))
	for _, name := range []string{imageFile, workDir} {
		if exists(filepath.Join(dir, name)) {
			t.Errorf("%s is left", name)
		}
	}
	must(t, Unmake(ctx, h, "test"), Ready(ctx, dir, "test"))
	if data, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(data), dir+"/") {
		t.Error("something stays mounted")
	}
}

func TestTwoMountAtOnce(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(hostFS(t, 4*gib), "home")
	must(t, Make(ctx, oldHome(t, dir), "test", mkfs(t)))
	for range 5 {
		must(t, unmount(filepath.Join(dir, storageDir)))
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if err := Ready(ctx, dir, "test"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := mountsOn(t, filepath.Join(dir, storageDir)); n != 1 {
			t.Fatalf("mounted %d times", n)
		}
	}
}

func TestRefusals(t *testing.T) {
	ctx, mkfs := context.Background(), mkfs(t)
	host := hostFS(t, 4*gib)
	dir := filepath.Join(host, "home")
	h := oldHome(t, dir)
	want := contents(t, dir)

	self, err := proc.Identify(os.Getpid())
	must(t, err, os.Mkdir(h.VMDir("lives"), 0o700))
	must(t, h.SaveVM(h.VMDir("lives"), home.VM{Name: "lives", Process: self}))
	wantKind(t, Make(ctx, h, "test", mkfs), errs.ErrState, "lives")
	must(t, os.RemoveAll(h.VMDir("lives")))

	lock, err := h.Lock(ctx, "a", "checkpoint")
	must(t, err)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := Make(short, h, "test", mkfs); err == nil {
		t.Error("a move does not wait for who holds a VM")
	}
	lock.Unlock()

	ended, end := context.WithCancel(ctx)
	end()
	wantKind(t, Make(ended, h, "test", mkfs), context.Canceled)
	wantKind(t, Make(ctx, h, "test", "/bin/false"), errs.ErrHost)
	same(t, "after refusals", want, contents(t, dir))
	if exists(filepath.Join(dir, workDir)) || Exists(dir) {
		t.Error("a refused move leaves something")
	}

	must(t, Make(ctx, h, "test", mkfs))
	must(t, h.SaveVM(h.VMDir("a"), home.VM{Name: "a", Process: self}))
	wantKind(t, Unmake(ctx, h, "test"), errs.ErrState, "a")
	must(t, h.SaveVM(h.VMDir("a"), home.VM{Name: "a"}))

	// The same blocks in two files take twice the space outside.
	fill(t, filepath.Join(host, "filler"), 1*gib)
	for i := range 60 {
		_, err := storage.Clone(ctx, filepath.Join(h.VMDir("a"), fmt.Sprint("clone", i)), filepath.Join(h.ImagesDir(), "busybox.ext4"))
		must(t, err)
	}
	fill(t, filepath.Join(host, "filler"), 100<<20)
	wantKind(t, Unmake(ctx, h, "test"), errs.ErrHost, "MiB")
	wantKind(t, Room(dir), errs.ErrHost, "MiB")
	must(t, os.Remove(filepath.Join(host, "filler")), Room(dir))
	if !mounted(dir) || exists(filepath.Join(dir, workDir)) {
		t.Error("a refused move changes something")
	}
}

// fill leaves left bytes free beside the file path.
func fill(t *testing.T, path string, left int64) {
	t.Helper()
	free, err := storage.Free(filepath.Dir(path))
	must(t, err)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer f.Close()
	info, err := f.Stat()
	must(t, err, unix.Fallocate(int(f.Fd()), 0, info.Size(), free-left))
}

func TestGrowth(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(hostFS(t, 60*gib), "home")
	h := oldHome(t, dir)
	must(t, Make(ctx, h, "test", mkfs(t)))
	before, err := Look(dir)
	must(t, err, Room(dir))
	if after, err := Look(dir); err != nil || after.Size != before.Size || before.Size != firstMax {
		t.Fatalf("an empty volume of %d bytes becomes %d: %v", before.Size, after.Size, err)
	}
	fill(t, filepath.Join(h.VMsDir(), "filler"), 2*gib)
	must(t, Room(dir))
	after, err := Look(dir)
	if must(t, err); after.Size != before.Size/2*3 || after.Free < 9*gib {
		t.Fatalf("a full volume of %d bytes becomes %d, with %d free", before.Size, after.Size, after.Free)
	}
	// Killed between the file's growth and the file system's.
	must(t, unmount(filepath.Join(dir, storageDir)), os.Truncate(filepath.Join(dir, imageFile), 30*gib), Ready(ctx, dir, "test"))
	if after, err := Look(dir); err != nil || after.Size != 30*gib {
		t.Fatalf("mounted, it has %d bytes: %v", after.Size, err)
	}
}

func TestGrown(t *testing.T) {
	for _, c := range []struct {
		what string
		u    Usage
		want int64
	}{
		{"room", Usage{Size: 16 * gib, Free: 5 * gib, Taken: 11 * gib, HostFree: 100 * gib}, 0},
		{"half as large again", Usage{Size: 16 * gib, Free: 3 * gib, Taken: 13 * gib, HostFree: 100 * gib}, 24 * gib},
		{"2 GiB are little", Usage{Size: 4 * gib, Free: 3 * gib / 2, Taken: 2 * gib, HostFree: 100 * gib}, 6 * gib},
		{"what the host has", Usage{Size: 16 * gib, Free: 3 * gib, Taken: 13 * gib, HostFree: 6 * gib}, 18 * gib},
		{"what the host has is promised", Usage{Size: 16 * gib, Free: 3 * gib, Taken: 13 * gib, HostFree: 4 * gib}, 0},
		{"a full host", Usage{Size: 16 * gib, Free: 3 * gib, Taken: 13 * gib}, 0},
	} {
		if got := grown(c.u); got != c.want {
			t.Errorf("%s: %d, not %d", c.what, got, c.want)
		}
	}
}

// TestCopiedHome: in a copy of a home by 'cp -a' the volume's files are there twice. Neither is touched.
func TestCopiedHome(t *testing.T) {
	ctx := context.Background()
	host := hostFS(t, 4*gib)
	dir, twin := filepath.Join(host, "home"), filepath.Join(host, "twin")
	must(t, Make(ctx, oldHome(t, dir), "test", mkfs(t)))
	want := contents(t, dir)
	if out, err := exec.Command("cp", "-a", dir, twin).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wantKind(t, Ready(ctx, twin, "test"), errs.ErrState, "copy")
	if !exists(filepath.Join(twin, storageDir, "vms/a/rootfs.ext4")) || !Exists(twin) {
		t.Error("it is touched")
	}
	must(t, os.Remove(filepath.Join(twin, imageFile)), Ready(ctx, twin, "test"))
	same(t, "in a copied home", want, contents(t, twin))
}

// TestForeignImage: root does not mount what another user can write.
func TestForeignImage(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(hostFS(t, 4*gib), "home")
	must(t, Make(ctx, oldHome(t, dir), "test", mkfs(t)))
	must(t, unmount(filepath.Join(dir, storageDir)), os.Chown(filepath.Join(dir, imageFile), 1000, 1000))
	wantKind(t, Ready(ctx, dir, "test"), errs.ErrHost, "root alone")
	must(t, os.Chown(filepath.Join(dir, imageFile), 0, 0))
	must(t, os.Rename(filepath.Join(dir, storageDir), filepath.Join(dir, "elsewhere")), os.Symlink("elsewhere", filepath.Join(dir, storageDir)))
	if err := Ready(ctx, dir, "test"); err == nil || mountsOn(t, filepath.Join(dir, "elsewhere")) != 0 {
		t.Errorf("mounted through a link: %v", err)
	}
}

func TestSudo(t *testing.T) {
	for dir, want := range map[string]string{
		"/home/me/.noid":  "`sudo NOID_HOME=/home/me/.noid noid list`",
		"/home/a b/.noid": "`sudo NOID_HOME='/home/a b/.noid' noid list`",
	} {
		if got := Sudo(dir, "list"); got != want {
			t.Errorf("got %s, wanted %s", got, want)
		}
	}
}
