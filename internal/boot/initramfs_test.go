package boot

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/kmod"
)

// TestWriteInitramfs has cpio read what was written.
func TestWriteInitramfs(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox, whose cpio is wanted")
	}
	modules := []kmod.Module{{Name: "virtio_ring", Data: []byte("ring")}, {Name: "virtio", Data: []byte("virtio!")}}
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := writeInitramfs(b, []byte("#!init"), []byte("#!agent"), modules, []byte("more")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same input made different archives")
	}
	cmd := exec.Command(busybox, "cpio", "-tv")
	cmd.Stdin = bytes.NewReader(first.Bytes())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var got []string
	for _, line := range strings.Split(string(out), "\n") {
		if f := strings.Fields(line); len(f) > 5 {
			got = append(got, f[0]+" "+f[len(f)-1])
		}
	}
	want := []string{"drwxr-xr-x dev", "drwxr-xr-x modules", "drwxr-xr-x newroot", "drwxr-xr-x proc", "drwxr-xr-x sys",
		"crw------- dev/console", "-rwxr-xr-x init", "-rwxr-xr-x agent", "-rw-r--r-- modules/000-virtio_ring.ko", "-rw-r--r-- modules/001-virtio.ko", "-rw-r--r-- modules.tar"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%s", diff, out)
	}
	cmd = exec.Command(busybox, "cpio", "-i", "--to-stdout", "modules/001-virtio.ko")
	cmd.Stdin = bytes.NewReader(first.Bytes())
	if out, err := cmd.Output(); err != nil || string(out) != "virtio!" {
		t.Errorf("reading a module: %q, %v", out, err)
	}
}
