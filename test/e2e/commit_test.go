package e2e

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// changed is what a user does in a guest, not all of it written to the disk yet.
const changed = `
cd /root; echo new >new; mkdir -p dir/sub; ln new dir/hard; ln -s new soft; chmod 4711 new; chown 12:34 dir
rm /etc/inittab 2>/dev/null || rm /etc/profile
mv /usr /usr.old; mkdir /usr; cp -a /usr.old/. /usr/; echo more >/usr.old/more
chmod 700 /etc/passwd; chmod 644 /etc/passwd; echo x >>/etc/group; mkfifo pipe; mknod null c 1 3
mkdir -p /mnt; mount -t tmpfs none /mnt; echo no >/mnt/mounted
`

// TestCommit makes images of VMs that run, that do not, of checkpoints and of root file systems. A VM of one has what
// the first VM had.
func TestCommit(t *testing.T) {
	t.Parallel()
	n := setup(t)
	image := "dir:" + tree(t)
	n.want(0, "create", "a", "--image", image, "--wait")
	n.want(0, "exec", "a", "--", "sh", "-c", "echo first >/root/first")
	n.want(0, "checkpoint", "a", "--label", "first")
	n.want(0, "exec", "a", "--", "sh", "-c", changed)
	n.want(0, "commit", "a", "mine:1", "-m", "more", "-c", `ENV COLOR=blue`, "-c", "WORKDIR /root")
	n.only("commit", "a")
	n.equal("a runs on", "new\n", n.want(0, "exec", "a", "cat", "/root/new"))
	want := n.tree("a")
	n.want(0, "create", "b", "--image", "mine:1", "--wait")
	if diff := cmp.Diff(want, n.tree("b")); diff != "" {
		t.Errorf("a has -, b +:\n%s", diff)
	}
	n.equal("what it says of programs", "blue /root\n", n.want(0, "exec", "b", "--", "sh", "-c", "echo $COLOR $PWD"))

	// One that does not run: nothing of its own runs for it. One on top of another.
	n.want(0, "exec", "b", "--", "sh", "-c", "echo second >/root/second; rm /root/soft; rm -r /usr.old")
	want = n.tree("b")
	n.want(0, "stop", "b")
	n.want(0, "commit", "b", "mine:2")
	if n.state("b") != "stopped" {
		t.Errorf("b is %s", n.state("b"))
	}
	n.want(0, "create", "c", "--image", "mine:2", "--wait")
	if diff := cmp.Diff(want, n.tree("c")); diff != "" {
		t.Errorf("b had -, c has +:\n%s", diff)
	}
	n.want(0, "destroy", "b", "c")

	// A checkpoint is what it was, though its guest had written nothing back.
	n.want(0, "commit", "a@first", "mine:first")
	n.equal("a checkpoint", "first\n", n.want(0, "run", "--rm", "mine:first", "--", "sh", "-c", "cat /root/first; test ! -e /root/new"))
	n.want(0, "pause", "a")
	n.want(0, "commit", "a", "mine:paused")
	if n.state("a") != "paused" {
		t.Errorf("a is %s", n.state("a"))
	}
	n.want(0, "destroy", "--checkpoints", "a")

	// A root file system becomes one layer.
	n.want(0, "create", "r", "--rootfs", os.Getenv("NOID_TEST_ROOTFS"), "--wait")
	n.want(0, "exec", "r", "--", "sh", "-c", "echo root >/root/root")
	want = n.tree("r")
	n.want(0, "commit", "r", "mine:root")
	n.want(0, "create", "s", "--image", "mine:root", "--wait")
	if diff := cmp.Diff(want, n.tree("s")); diff != "" {
		t.Errorf("r has -, s +:\n%s", diff)
	}
	n.saves("mine:2")
}

// saves saves an image, which others take.
func (n noid) saves(image string) {
	n.t.Helper()
	for _, program := range []string{"skopeo", "umoci"} {
		if _, err := exec.LookPath(program); err != nil {
			n.t.Skipf("NOT RUN: no %s here", program)
		}
	}
	dir := n.t.TempDir()
	saved := filepath.Join(dir, "saved.tar")
	n.want(0, "image", "save", "-o", saved, image)
	for _, argv := range [][]string{
		{"skopeo", "--insecure-policy", "copy", "--quiet", "oci-archive:" + saved, "oci:" + dir + "/layout:saved"},
		{"umoci", "raw", "unpack", "--rootless", "--image", dir + "/layout:saved", dir + "/root"},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			n.t.Fatalf("%s: %v: %s", argv, err, out)
		}
	}
	if text, err := os.ReadFile(dir + "/root/root/second"); err != nil || string(text) != "second\n" {
		n.t.Errorf("what umoci unpacks: %q, %v", text, err)
	}
	if digest := n.want(0, "image", "import", "oci-archive:"+saved, "again:1"); !strings.Contains(n.want(0, "image", "inspect", image), strings.TrimSpace(digest)) {
		n.t.Errorf("it comes back as %s", digest)
	}
}

// tree describes the files in a guest, but those that noid or the guest's init writes.
func (n noid) tree(name string) map[string]string {
	n.t.Helper()
	cmd := n.cmd(n.t.Context(), "cp", "-a", name+":/", "-")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	list := map[string]string{}
	for r := tar.NewReader(out); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			n.t.Fatal(err)
		}
		path := strings.TrimPrefix(filepath.Clean(h.Name), "/")
		top, _, _ := strings.Cut(path, "/")
		if slices.Contains([]string{"dev", "proc", "sys", "run", "tmp", "mnt", "var", "lost+found"}, top) || path == "etc/hostname" || path == "etc/machine-id" || path == "etc/resolv.conf" || path == "." || path == "etc" {
			continue
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			n.t.Fatal(err)
		}
		list[path] = fmt.Sprintf("%c %o %d:%d %d %d %s %x", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size, h.ModTime.UnixNano(), h.Linkname, sum.Sum(nil))
	}
	cmd.Wait() // 1: it skips devices
	return list
}
