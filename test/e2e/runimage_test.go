package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"noid/internal/image/imagetest"
)

// busybox has the image "app" of a static busybox, whose settings are those of imagetest.Image: user nobody, directory
// /tmp, PATH=/bin, command true, stop signal SIGINT.
func (n noid) busybox() {
	n.t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		n.t.Skipf("NOT RUN: no static busybox here: %v", err)
	}
	files := map[string]string{"tmp/": "", "proc/": "", "etc/passwd": "root:x:0:0::/:/bin/sh\nnobody:x:99:99::/:/bin/sh\n"}
	for _, applet := range []string{"sh", "true", "id", "pwd", "cat", "sleep", "hostname", "ls"} {
		files["bin/"+applet] = string(program)
	}
	archive := filepath.Join(n.t.TempDir(), "app.tar")
	if err := tarball.WriteToFile(archive, name.MustParseReference("app:1"), imagetest.Image(n.t, imagetest.Tar(n.t, files))); err != nil {
		n.t.Fatal(err)
	}
	n.want(0, "image", "import", "docker-archive:"+archive, "app:1")
}

// TestRunImage runs an image that has no init: its user, found in the guest, its PATH, directory and command are
// defaults, also of exec, of a clone and after a restart; and stop has its command end by its own signal.
func TestRunImage(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.busybox()
	n.want(0, "run", "--rm", "app:1")
	n.equal("user, directory and PATH", "99 /tmp /bin\n", n.want(0, "run", "--rm", "app:1", "--", "sh", "-c", "echo $(id -u) $PWD $PATH"))
	n.equal("flags win", "0 / b\n", n.want(0, "run", "--rm", "-u", "root", "-w", "/", "-e", "A=b", "app:1", "--", "sh", "-c", "echo $(id -u) $PWD $A"))
	n.want(127, "run", "--rm", "app:1", "nosuchcommand")
	n.only("runs")
	if keys := n.templates(); len(keys) != 1 {
		t.Errorf("templates: %v", keys)
	}

	n.want(0, "run", "-d", "--name", "a", "-u", "root", "app:1", "--", "sh", "-c", "trap 'echo INT >/ended; exit' INT; echo up >/up; while :; do sleep 0.1; done")
	n.until("the command is up", func() bool { _, _, code := n.run("exec", "a", "cat", "/up"); return code == 0 })
	n.want(0, "checkpoint", "a", "--label", "one")
	n.equal("exec in a clone", "99 /tmp\n", n.want(0, "run", "--rm", "a@one", "--", "sh", "-c", "echo $(id -u) $PWD"))
	n.want(0, "stop", "a")
	n.want(0, "start", "a")
	n.equal("what the stopped command has written", "INT\n", n.want(0, "exec", "a", "cat", "/ended"))
	if doc := n.want(0, "inspect", "a"); !strings.Contains(doc, `"stop_signal": "SIGINT"`) {
		t.Errorf("inspect: %s", doc)
	}
}
