package changes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"noid/internal/image/base"
	"noid/internal/image/flatten"
	"noid/internal/image/imagetest"
)

// lower is what an image has, upper what a guest does to it.
const (
	lower = `
mkdir -p etc dir/sub/deep kept other/x renamed/a/b moved/in replaced gone names var/lib
echo image >etc/hostname; echo 1 >etc/machine-id
for f in dir/one dir/sub/two dir/sub/deep/three kept/same kept/mode kept/owner kept/data other/x/y renamed/a/b/c renamed/top moved/in/file replaced/old gone/file; do echo $f >$f; done
echo shared >names/a; ln names/a names/b; ln names/a other/c
echo two >names/d; ln names/d names/e
echo link >names/l; ln -s one dir/link
head -c 300000 /dev/urandom >kept/large; cp kept/large renamed/large
`
	upper = `
echo new >new; mkdir -p fresh/dir; echo x >fresh/dir/x
chmod 4711 kept/mode; chown 12:34 kept/owner; chmod 700 kept; echo changed >>kept/data; chown 5 kept/large
rm dir/one; rm -r gone
rm -r other; mkdir other; echo only >other/only
rm -r replaced; echo file >replaced
rm kept/same; mkdir kept/same; echo in >kept/same/in
mv renamed again; echo more >again/a/more; rm again/top; mv again/large again/a/renamed-file
mkdir -p fresh/parent; mv moved fresh/parent/moved; mv fresh/parent/moved/in fresh/in
mv dir/sub/deep dir/deep; mkdir dir/sub/deep; echo other >dir/sub/deep/three
echo changed >>names/a
rm names/d
ln names/l names/m; ln fresh/dir/x fresh/dir/y
ln -sfn two dir/link; ln -s nowhere broken
mkfifo fifo; mknod null c 1 3; mknod disk b 7 9
truncate -s 3000000 sparse; echo end >>sparse
touch -d 1969-01-02T03:04:05.123456789 new; touch -h -d 2030-01-01T00:00:00.5 broken
mkdir odd; echo a >"odd/$(printf 'caf\351')"; echo b >"odd/a
b"; mkdir -p odd/$(printf '%0200d/%0200d' 1 2); echo c >odd/$(printf '%0200d/%0200d' 1 2)/c
chmod 1777 .
echo mine >etc/hostname; rm etc/machine-id; echo nameserver >etc/resolv.conf; mkdir -p dev; echo x >dev/x; mkdir -m 711 var/lib/docker
echo no >odd/.wh.no
`
	// What noid or no layer has: as in the image.
	noids = `
printf 'image\n' >etc/hostname; echo 1 >etc/machine-id; rm etc/resolv.conf dev/x; rmdir var/lib/docker; rm odd/.wh.no odd/socket
`
)

// overlay mounts an overlay as noid-init does, over a directory with the files of lower, and has the guest's commands
// change it.
func overlay(t *testing.T) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: not root, who alone can mount an overlay")
	}
	dir = t.TempDir()
	mount := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v: %s", err, out)
		}
		t.Cleanup(func() { unix.Unmount(args[len(args)-1], unix.MNT_DETACH) })
	}
	disk := filepath.Join(dir, "disk.ext4")
	run(t, dir, "truncate -s 64M disk.ext4; /sbin/mkfs.ext4 -q -E nodiscard disk.ext4; mkdir own root")
	mount("-o", "loop", disk, filepath.Join(dir, "own"))
	run(t, dir, "cd own; mkdir lower upper work")
	run(t, filepath.Join(dir, "own/lower"), lower)
	mount("-t", "overlay", "-o", fmt.Sprintf("lowerdir=%[1]s/own/lower,upperdir=%[1]s/own/upper,workdir=%[1]s/own/work,", dir)+
		"redirect_dir=on,index=on,metacopy=on,xino=auto", "overlay", filepath.Join(dir, "root"))
	root := filepath.Join(dir, "root")
	run(t, root, upper)
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw=ep
	if err := errors.Join(unix.Setxattr(root+"/new", "user.some", []byte("value"), 0), unix.Setxattr(root+"/fresh", "trusted.other", []byte("value"), 0),
		unix.Setxattr(root+"/fresh/dir/x", "security.capability", []byte(capability), 0), unix.Mknod(root+"/odd/socket", unix.S_IFSOCK|0o600, 0)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func run(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// at opens a directory for the length of the test.
func at(t *testing.T, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// warnings takes those of a Write.
type warnings []string

func (w *warnings) add(text string) { *w = append(*w, text) }

// TestWrite has umoci unpack the image's layer and that of the changes, and noid build a base: both are what the guest
// has.
func TestWrite(t *testing.T) {
	dir := overlay(t)
	var layer bytes.Buffer
	var said warnings
	if err := Write(&layer, at(t, filepath.Join(dir, "own/upper")), at(t, filepath.Join(dir, "root")), said.add); err != nil {
		t.Fatal(err)
	}
	if len(said) != 1 || !strings.Contains(said[0], ".wh.no") {
		t.Error(said)
	}
	below, err := exec.Command("tar", "-C", filepath.Join(dir, "own/lower"), "--xattrs", "--format=posix", "-c", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	unpacked, built := unpack(t, below, layer.Bytes()), build(t, below, layer.Bytes())
	run(t, filepath.Join(dir, "root"), noids)
	compare(t, unpacked, files(t, filepath.Join(dir, "root")))
	compare(t, built, files(t, filepath.Join(dir, "root")))
	if bytes.Contains(layer.Bytes(), []byte("dir/sub/two\n")) {
		t.Error("a file that did not change is in the layer")
	}
}

// TestWriteAll makes one layer of a root that is no overlay.
func TestWriteAll(t *testing.T) {
	dir := overlay(t)
	var layer bytes.Buffer
	var said warnings
	if err := WriteAll(&layer, at(t, filepath.Join(dir, "root")), said.add); err != nil {
		t.Fatal(err)
	}
	got := unpack(t, layer.Bytes())
	run(t, filepath.Join(dir, "root"), noids+": >etc/hostname; : >etc/resolv.conf; rm etc/machine-id; mkdir var/lib/docker; chmod 711 var/lib/docker")
	compare(t, got, files(t, filepath.Join(dir, "root")))
}

// compare leaves out the times of directories in which noids was run.
func compare(t *testing.T, got, want map[string]stat) {
	t.Helper()
	for _, name := range []string{"etc", "dev", "var/lib", "odd", "etc/hostname", "etc/machine-id", "etc/resolv.conf", "var/lib/docker"} {
		if f, ok := want[name]; ok {
			f.time = got[name].time
			want[name] = f
		}
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(stat{})); diff != "" {
		t.Errorf("the guest's are -, the image's +:\n%s", diff)
	}
}

// unpack returns the files that umoci makes of layers, the bottom one first.
func unpack(t *testing.T, layers ...[]byte) map[string]stat {
	t.Helper()
	dir := t.TempDir()
	imagetest.Layout(t, filepath.Join(dir, "layout"), "test", imagetest.Image(t, layers...))
	if out, err := exec.Command("umoci", "raw", "unpack", "--image", filepath.Join(dir, "layout")+":test", filepath.Join(dir, "root")).CombinedOutput(); err != nil {
		t.Fatalf("umoci: %v: %s", err, out)
	}
	return files(t, filepath.Join(dir, "root"))
}

// archive is a layer.
type archive []byte

func (a archive) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(a)), nil
}

// build returns the files in the base that noid makes of layers.
func build(t *testing.T, layers ...[]byte) map[string]stat {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "base.ext4"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []flatten.Layer
	for _, l := range layers {
		list = append(list, archive(l))
	}
	if _, err := base.Build(t.Context(), f, list, base.Options{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop,ro", f.Name(), dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	return files(t, dir)
}

// stat is what a kernel says of a file.
type stat struct {
	mode, sum, target, xattrs string
	names                     string // all of them
	uid, gid                  uint32
	device                    uint64
	size, time                int64
}

func files(t *testing.T, root string) map[string]stat {
	t.Helper()
	list, inodes := map[string]stat{}, map[uint64][]string{}
	of := map[string]uint64{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		f := stat{mode: fmt.Sprintf("%o", st.Mode), uid: st.Uid, gid: st.Gid, device: st.Rdev, time: st.Mtim.Nano(), xattrs: xattrs(path)}
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f.size, f.sum = st.Size, fmt.Sprintf("%x", sha256.Sum256(data))
		case syscall.S_IFLNK:
			if f.target, err = os.Readlink(path); err != nil {
				return err
			}
		}
		if !e.IsDir() {
			inodes[st.Ino], of[name] = append(inodes[st.Ino], name), st.Ino
		}
		list[name] = f
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, ino := range of {
		f := list[name]
		f.names = strings.Join(inodes[ino], " ")
		list[name] = f
	}
	return list
}

func xattrs(path string) string {
	buf, value := make([]byte, 64<<10), make([]byte, 64<<10)
	n, _ := unix.Llistxattr(path, buf)
	var list []string
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if kept(name) {
			n, _ := unix.Lgetxattr(path, name, value)
			list = append(list, fmt.Sprintf("%s=%x", name, value[:n]))
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}
