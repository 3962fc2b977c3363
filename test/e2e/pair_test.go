package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// nobody is an ordinary user.
const nobody = 65534

// hidden is a noid that finds no /dev/net/tun, and is run by an ordinary user, over a home of that user's. Only root can
// make one.
func hidden(t *testing.T) (without, with noid) {
	t.Helper()
	with = setup(t)
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: only root hides a device and becomes another user")
	}
	dir := t.TempDir()
	kernel, rootfs := os.Getenv("NOID_TEST_KERNEL"), os.Getenv("NOID_TEST_ROOTFS") // that user may have no way to these
	files := filepath.Dir(filepath.Dir(kernel))                                    // the kernel's package has its modules
	for _, d := range []string{dir, filepath.Dir(dir), filepath.Dir(with.home)} {
		check(t, os.Chmod(d, 0o755))
	}
	check(t, os.Mkdir(filepath.Join(dir, "kernel"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "rootfs"), nil, 0o644))
	for name, device := range map[string]string{"with": "mknod /dev/net/tun c 10 200 && chmod 666 /dev/net/tun", "without": "true"} {
		script := fmt.Sprintf("#!/bin/sh\nexec unshare -m sh -c 'cd / && mount --bind %s %s && mount --bind %s %s && mount -t tmpfs tmpfs /dev/net && %s &&"+
			" exec setpriv --reuid %d --regid %d --clear-groups \"$0\" \"$@\"' '%s' \"$@\"\n",
			files, filepath.Join(dir, "kernel"), rootfs, filepath.Join(dir, "rootfs"), device, nobody, nobody, with.bin)
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	check(t, filepath.Walk(with.home, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	}))
	without = with
	with.bin, without.bin = filepath.Join(dir, "with"), filepath.Join(dir, "without")
	t.Cleanup(func() { // root may not, in another's home
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			with.run("destroy", "--checkpoints", name)
		}
	})
	with.want(0, "config", "set", "kernel", filepath.Join(dir, "kernel", strings.TrimPrefix(kernel, files)))
	with.want(0, "config", "set", "rootfs", filepath.Join(dir, "rootfs"))
	return without, with
}

// device is what the network device of name is.
func (n noid) device(name string) string {
	n.t.Helper()
	_, after, _ := strings.Cut(n.want(0, "inspect", name), `"device": "`)
	device, _, _ := strings.Cut(after, `"`)
	return device
}

// TestNetworkPair has an ordinary user make VMs with a network where there is no /dev/net/tun. What was saved there loads
// elsewhere too.
func TestNetworkPair(t *testing.T) {
	t.Parallel()
	n, elsewhere := hidden(t)
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Repeat("of the host\n", 100000))
	}))
	defer host.Close()
	_, hostPort, err := net.SplitHostPort(host.Listener.Addr().String())
	check(t, err)
	_, said, code := n.run("create", "a", "--net", "default", "--host-port", hostPort, "-p", "127.0.0.1:0:8000", "--wait")
	if code != 0 || !strings.Contains(said, `the network of vm "a" is slower than it could be`) || !strings.Contains(said, "/dev/net/tun") {
		t.Fatalf("create: %d, %s", code, said)
	}
	n.equal("its device", "pair", n.device("a"))
	fetch := func(n noid, name, at, port string) string {
		out, _, _ := n.run("exec", name, "--", "sh", "-c", `printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 20 "$0" "$1"`, at, port)
		_, body, _ := strings.Cut(out, "\r\n\r\n")
		return body
	}
	got := func(n noid, name string) bool {
		n.t.Helper()
		return fetch(n, name, "host.noid.internal", hostPort) == strings.Repeat("of the host\n", 100000)
	}
	reaches := func(n noid, name string) {
		n.t.Helper()
		if !got(n, name) {
			t.Errorf("%s does not get all of the host's file", name)
		}
	}
	reaches(n, "a")
	for _, at := range []string{"127.0.0.1", "10.63.0.1", "169.254.169.254", "192.168.1.1"} {
		n.equal(at, "", fetch(n, "a", at, hostPort))
	}
	n.want(0, "exec", "a", "--", "sh", "-c", "mkdir /www; echo of the guest >/www/file; httpd -p 8000 -h /www; httpd -p 127.0.0.1:8001 -h /www")
	n.get("a port", n.port("a", "8000"))
	n.want(0, "port", "add", "a", "0:8001")
	n.get("a port to the guest's loopback", n.port("a", "8001"))

	n.want(0, "checkpoint", "a", "--label", "one")
	n.want(0, "restore", "a", "one", "--as", "b")
	reaches(n, "b")
	n.want(0, "fork", "a", "--as", "c")
	reaches(n, "c")
	elsewhere.want(0, "restore", "a", "one", "--as", "d")
	reaches(elsewhere, "d")
	n.equal("a clone's device where there is a tap", "pair", elsewhere.device("d"))
	n.want(0, "destroy", "b", "c", "d")

	check(t, syscall.Kill(n.networkHelper("a"), syscall.SIGKILL))
	n.until("the network is back", func() bool { return got(n, "a") })
	killHelper(t, n, "a")
	check(t, syscall.Kill(n.networkHelper("a"), syscall.SIGKILL))
	n.want(0, "net", "deny", "a", "192.0.2.1") // which starts the helper again
	n.until("the network is back again", func() bool { return got(n, "a") })

	n.want(0, "stop", "--force", "a")
	elsewhere.want(0, "start", "a")
	n.equal("its device where there is a tap", "tap", elsewhere.device("a"))
	reaches(elsewhere, "a")
	elsewhere.want(0, "checkpoint", "a", "--label", "tap")
	if _, said, code := n.run("restore", "a", "tap", "--as", "e"); code != 7 || !strings.Contains(said, "was saved on a tap") || !strings.Contains(said, "hint: load its module") {
		t.Errorf("what was saved on a tap, where there is none: %d, %s", code, said)
	}
}

// killHelper kills the helper of name, and leaves its network helper alone.
func killHelper(t *testing.T, n noid, name string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(filepath.Join(n.home, "storage/vms", name))
	check(t, err)
	entries, err := os.ReadDir("/proc")
	check(t, err)
	killed := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		args, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd")); err == nil && cwd == dir && strings.Contains(string(args), "\x00helper\x00") {
			check(t, syscall.Kill(pid, syscall.SIGKILL))
			n.until("the helper has ended", func() bool { // until then a command takes it for one that is there
				stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
				_, state, _ := strings.Cut(string(stat), ") ")
				return err != nil || strings.HasPrefix(state, "Z")
			})
			killed++
		}
	}
	if killed != 1 {
		t.Fatalf("%s has %d helpers", name, killed)
	}
}
