package e2e

import (
	"bytes"
	"encoding/gob"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"noid/internal/image/imagetest"
	"noid/internal/image/imagetest/listing"
)

// TestFlattened has guests say what files there are of an image: those that umoci unpacks of it.
func TestFlattened(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	if _, err := exec.LookPath("umoci"); err != nil || os.Getuid() != 0 {
		t.Skipf("NOT RUN: umoci unpacks all of an image as root alone: user %d, %v", os.Getuid(), err)
	}
	n := setup(t)
	program := filepath.Join(t.TempDir(), "list")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./list")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	none := func(_, _ map[string]*listing.File) {}
	for _, test := range []struct {
		name, layout string
		mend         func(umocis, got map[string]*listing.File)
	}{
		{"nasty", layoutOf(t, imagetest.Nasty(t, "posix")), imagetest.MendNasty},
		{"twenty", layoutOf(t, imagetest.Twenty(t)), imagetest.MendTwenty},
		{"debian", os.Getenv("NOID_TEST_LAYERS"), none},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := n
			n.t = t
			if test.layout == "" {
				t.Skip("NOT RUN: NOID_TEST_LAYERS is not set")
			}
			if test.name == "debian" && os.Getenv("NOID_TEST_LONG") == "" {
				t.Skip("NOT RUN: 'make torture' does, a unit test compares what the host unpacks")
			}
			want := unpacked(t, test.layout)
			n.want(0, "create", test.name, "--image", "oci:"+test.layout, "--boot-args", "noid.alone", "--wait") // nothing of its own runs
			n.want(0, "cp", program, test.name+":/dev/shm/list")
			got := n.listing(test.name)
			n.want(0, "destroy", test.name)
			test.mend(want, got)
			if want["etc"] == nil {
				delete(got, "etc") // noid has made it for the guest's name
			}
			alike(want)
			alike(got)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(listing.File{}, "Blocks")); diff != "" {
				t.Errorf("umoci's are -, the guest's +:\n%s", diff)
			}
		})
	}
}

// layoutOf is a directory with an image of layers, in OCI's layout.
func layoutOf(t *testing.T, layers [][]byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	imagetest.Layout(t, dir, "test", imagetest.Image(t, layers...))
	return dir
}

// unpacked returns what umoci unpacks of an image, but noid's own.
func unpacked(t *testing.T, layout string) map[string]*listing.File {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command("umoci", "raw", "unpack", "--image", layout+":test", dir).CombinedOutput(); err != nil {
		t.Fatalf("umoci: %v: %s", err, out)
	}
	files, err := listing.Files(dir, noids...)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// noids are what noid and its agent, as init, make in a guest where it is missing, or write.
var noids = strings.Fields("dev proc sys run tmp lost+found etc/hostname etc/machine-id etc/resolv.conf var/lib/docker var/lib/containerd var/lib/containers var/lib/kubelet")

// listing returns what files a guest has, but noid's own.
func (n noid) listing(name string) map[string]*listing.File {
	n.t.Helper()
	out := n.want(0, append([]string{"exec", "-u", "0", "-w", "/", name, "--", "/dev/shm/list", "/"}, noids...)...)
	var files map[string]*listing.File
	if err := gob.NewDecoder(bytes.NewReader([]byte(out))).Decode(&files); err != nil {
		n.t.Fatal(err)
	}
	return files
}

// alike leaves out what depends on the file system, how many names a directory has, and the times of directories into
// which noid writes.
func alike(files map[string]*listing.File) {
	for name, f := range files {
		if strings.HasPrefix(f.Mode, "d") {
			f.Links = 0
		}
		if name == "." || name == "etc" || name == "var/lib" {
			f.Time = imagetest.Then
		}
	}
}
