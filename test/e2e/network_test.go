package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// get returns what a server of the guest says at an address of this host, once it is there.
func (n noid) get(what, at string) {
	n.t.Helper()
	n.until(what, func() bool {
		client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := client.Get("http://" + at + "/file")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		return err == nil && string(text) == "of the guest\n"
	})
}

// port is where this host leads to a port of the guest of name.
func (n noid) port(name, guest string) string {
	n.t.Helper()
	var ports []struct {
		Host    string
		Guest   int
		Problem string
	}
	if err := json.Unmarshal([]byte(n.want(0, "port", "ls", "--json", name)), &ports); err != nil {
		n.t.Fatal(err)
	}
	for _, p := range ports {
		if fmt.Sprint(p.Guest) == guest && p.Problem == "" {
			return p.Host
		}
	}
	n.t.Fatalf("no port leads to %s of %s: %+v", guest, name, ports)
	return ""
}

// networkHelper is the pid of the network helper of name.
func (n noid) networkHelper(name string) int {
	n.t.Helper()
	var inspected struct {
		Network struct{ Helper struct{ PID int } }
	}
	check(n.t, json.Unmarshal([]byte(n.want(0, "inspect", name)), &inspected))
	if inspected.Network.Helper.PID == 0 {
		n.t.Fatalf("inspect shows no network helper of %s", name)
	}
	return inspected.Network.Helper.PID
}

// TestNetwork has a guest reach the port of this host that it may reach and no other, this host reach the guest, and
// both go on over changes, restores, and the end of the network helper.
func TestNetwork(t *testing.T) {
	t.Parallel()
	n := setup(t)
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "of the host\n") }))
	defer host.Close()
	_, hostPort, err := net.SplitHostPort(host.Listener.Addr().String())
	check(t, err)
	n.want(0, "create", "a", "--net", "default", "--host-port", hostPort, "-p", "127.0.0.1:0:8000", "--wait")
	fetch := func(name, from string) string {
		at, port, _ := strings.Cut(from, ":") // busybox' wget needs libraries that are not there
		out, _, _ := n.run("exec", name, "--", "sh", "-c", `printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 20 "$0" "$1"`, at, port)
		_, body, _ := strings.Cut(out, "\r\n\r\n")
		return body
	}
	named := "host.noid.internal:" + hostPort
	n.equal("the host's port", "of the host\n", fetch("a", named))
	for _, from := range []string{"host.noid.internal:1", "127.0.0.1:" + hostPort, "10.63.0.1:" + hostPort, "169.254.169.254:80", "192.168.1.1:80"} {
		n.equal(from, "", fetch("a", from))
	}
	if log := n.want(0, "net", "log", "a"); !strings.Contains(log, "to=169.254.169.254:80 why=169.254.169.254 is link-local") {
		t.Errorf("the log of what the guest was refused:\n%s", log)
	}

	n.want(0, "exec", "a", "--", "sh", "-c", "mkdir /www; echo of the guest >/www/file; httpd -p 8000 -h /www; httpd -p 127.0.0.1:8001 -h /www")
	n.get("a port", n.port("a", "8000"))
	n.want(0, "port", "add", "a", "0:8001")
	n.get("a port to the guest's loopback", n.port("a", "8001"))
	n.want(4, "create", "b", "-p", n.port("a", "8000")+":80")
	n.oneOfTwo()

	n.want(0, "net", "deny", "a", "10.63.0.254", "fd63:6e6f:6964::fe")
	n.equal("after net deny", "", fetch("a", named))
	n.want(0, "net", "rm", "a", "10.63.0.254", "fd63:6e6f:6964::fe")
	n.equal("after net rm", "of the host\n", fetch("a", named))

	announced := func(name string) (times int) {
		_, err := fmt.Sscan(n.want(0, "exec", name, "sed", "-n", `s/^Icmp6OutNeighborAdvertisements\s*//p`, "/proc/net/snmp6"), &times)
		check(t, err)
		return times
	}
	before := announced("a")
	n.want(0, "checkpoint", "a", "--label", "one")
	n.want(0, "restore", "a", "one", "--as", "b")
	n.equal("a clone", "of the host\n", fetch("b", named))
	if times := announced("b") - before; times > 2 { // QEMU has it announce both of its addresses
		t.Errorf("a clone announces itself %d times", times)
	}
	n.equal("the clone's ports", "[]\n", n.want(0, "port", "ls", "--json", "b"))
	n.want(0, "restore", "--no-backup", "a", "one")
	n.get("a port after a restore in place", n.port("a", "8000"))
	n.equal("after a restore in place", "of the host\n", fetch("a", named))

	check(t, syscall.Kill(n.networkHelper("a"), syscall.SIGKILL))
	n.until("the network is back", func() bool { return fetch("a", named) == "of the host\n" })
	n.get("a port, too", n.port("a", "8000"))

	n.forwards("b")
}

// TestLoopbackResolver: an image whose resolv.conf names a server of the machine that it was made on has noid's resolver
// in a VM, and keeps its file.
func TestLoopbackResolver(t *testing.T) {
	t.Parallel()
	n := setup(t).in(t)
	dir := tree(t)
	const own = "nameserver 127.0.0.11\noptions ndots:0\n"
	path := filepath.Join(dir, "etc/resolv.conf")
	os.Remove(path)
	check(t, os.WriteFile(path, []byte(own), 0o644))
	n.want(0, "create", "a", "--image", "dir:"+dir, "--wait")
	n.equal("resolv.conf", "nameserver 10.63.0.1\n", n.want(0, "exec", "a", "cat", "/etc/resolv.conf"))
	n.want(0, "exec", "a", "nslookup", "host.noid.internal")
	n.want(0, "commit", "a", "mine:1")
	n.want(0, "stop", "a")
	n.want(0, "create", "b", "--image", "mine:1", "--wait")
	for _, vm := range []string{"a", "b"} {
		n.run("start", vm)
		n.equal("the image's file in "+vm, own, n.want(0, "exec", vm, "--", "sh", "-c", "umount /etc/resolv.conf; cat /etc/resolv.conf"))
	}
}

// oneOfTwo makes two VMs that are to have one port at once, and looks whether one of them gets it and the other is none.
func (n noid) oneOfTwo() {
	n.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(n.t, err)
	port := l.Addr().String() + ":80"
	l.Close()
	var codes [2]int
	var both sync.WaitGroup
	for i, name := range []string{"one", "two"} {
		both.Go(func() { _, _, codes[i] = n.run("create", name, "-p", port) })
	}
	both.Wait()
	winner := map[[2]int]string{{0, 4}: "one", {4, 0}: "two"}[codes]
	if winner == "" {
		n.t.Errorf("two VMs with one port: exit codes %v", codes)
		winner = "one"
	}
	n.port(winner, "80")
	n.want(0, "destroy", winner)
}

// forwards looks whether a forward to name ends with its command, also one that is killed.
func (n noid) forwards(name string) {
	n.t.Helper()
	cmd := n.cmd(n.t.Context(), "forward", name, "0:8000")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	defer cmd.Process.Kill()
	line := make([]byte, 100)
	got, err := out.Read(line)
	if err != nil {
		n.t.Fatal(err)
	}
	at := strings.TrimSuffix(strings.Fields(string(line[:got]))[0], ":8000/tcp")
	n.get("a forward", at)
	cmd.Process.Kill()
	n.until("the forward is gone", func() bool {
		c, err := net.Dial("tcp", at)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if _, stuck := cmd.Wait().(*exec.ExitError); !stuck {
		n.t.Error("the forward had ended before it was killed")
	}
}
