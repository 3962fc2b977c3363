package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestModulesOnDemand: the guest's kernel gets the modules that it asks for, though the root file system has none.
func TestModulesOnDemand(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	if out := n.want(0, "exec", "a", "--", "cat", "/proc/modules"); strings.Contains(out, "bridge ") {
		t.Fatal("bridge is loaded before anybody wants it")
	}
	n.want(0, "exec", "a", "--", "sh", "-c", "ip link add br0 type bridge && cat /sys/class/net/br0/bridge/bridge_id")
	if out := n.want(0, "exec", "a", "--", "cat", "/proc/modules"); !strings.Contains(out, "bridge ") || !strings.Contains(out, "stp ") {
		t.Errorf("no bridge, or not what it needs:\n%s", out)
	}
	n.run("exec", "a", "--", "ip", "link", "add", "x", "type", "nosuchkind") // asks in vain, and nothing breaks
	n.want(0, "exec", "a", "--", "ip", "link", "add", "d0", "type", "dummy")
}

// TestDocker: Docker as Debian packages it starts in a VM of an image with systemd, on the VM's own disk, and runs a
// container that reaches its bridge. The image is 400 MB: 'make torture' makes it.
func TestDocker(t *testing.T) {
	image := os.Getenv("NOID_TEST_DOCKER")
	if image == "" {
		t.Skip("NOT RUN: 'make torture' makes the image with Docker")
	}
	n := setup(t)
	n.want(0, "image", "import", "tar:"+image, "docker:1")
	n.want(0, "create", "d", "--image", "docker:1", "--mem", "1536", "--wait")
	n.want(0, "exec", "d", "--", "mkdir", "/root/tree", "/root/tree/bin")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	n.want(0, "cp", busybox, "d:"+filepath.Join("/root/tree/bin", "busybox"))
	out := n.want(0, "exec", "d", "--", "sh", "-ec", `
		until [ -S /run/dbus/system_bus_socket ] || [ -S /run/systemd/private ]; do sleep 1; done
		systemctl is-system-running --wait || true
		tar -C /root/tree -c . | docker import - busybox:1
		docker info --format 'driver {{.Driver}}'
		docker run --rm busybox:1 /bin/busybox ping -c 1 172.17.0.1`)
	if !strings.Contains(out, "driver overlay2") || !strings.Contains(out, "1 packets received") {
		t.Error(out)
	}
}
