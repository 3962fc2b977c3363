package e2e

import (
	"os"
	"os/exec"
	"testing"

	"noid/internal/image/imagetest"
)

// TestImageOfRegistry runs a command in a guest of an image that comes from a registry: as the user, in the directory
// and with the command that the image names. The upper layer's file hides the lower one's.
func TestImageOfRegistry(t *testing.T) {
	t.Parallel()
	n := setup(t)
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	busybox, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lower := imagetest.Tar(t, map[string]string{"bin/": "", "bin/sh": string(busybox), "bin/true": string(busybox), "tmp/": "", "etc/": "", "etc/motd": "lower\n",
		"etc/passwd": "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"})
	upper := imagetest.Tar(t, map[string]string{"etc/motd": "upper\n"})
	ref := imagetest.Serve(t).Push(t, "app:1", imagetest.Image(t, lower, upper))

	n.want(0, "run", "--rm", ref) // its own command, /bin/true
	n.equal("motd", "upper\n/tmp\n65534\n", n.want(0, "run", "--rm", ref, "sh", "-c", "while read -r line; do echo $line; done </etc/motd; pwd; sh -c 'echo $(exec -a id /bin/sh -u)'"))
	n.want(0, "image", "rm", ref)
	n.only("image rm")
}
