package confine

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSelf is a process that has confined itself, with all its threads.
func TestSelf(t *testing.T) {
	landlock(t, 3)
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "record"))
	for _, name := range []string{"own", "sockets"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Dir, cmd.Env, cmd.Stderr = dir, []string{childEnv + "=self"}, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	c := child{t, cmd.Process.Pid, in, bufio.NewScanner(out)}
	for _, attempt := range []string{"read record", "create own/new", "write own/new", "read own/new", "remove own/new", "read /proc/self/statm", "list .",
		"list sockets", "symlink sockets/s", "remove sockets/s", "socket " + strconv.Itoa(unix.AF_INET), "socket " + strconv.Itoa(unix.AF_INET6)} {
		c.try(attempt, 0)
	}
	for _, attempt := range []string{"read /etc/passwd", "list /", "create /tmp/noid-not-confined", "write record", "remove record", "create new", "mkdir d", "mkdir own/d", "symlink own/s", "mkdir sockets/d",
		"socket " + strconv.Itoa(unix.AF_UNIX), "socket " + strconv.Itoa(unix.AF_PACKET), "socket " + strconv.Itoa(unix.AF_VSOCK)} {
		c.try(attempt, unix.EACCES)
	}
	for _, attempt := range []string{"exec /bin/true", "unshare", fmt.Sprintf("ptrace %d", os.Getpid())} {
		c.try(attempt, unix.EPERM)
	}
	c.try("clone3", unix.ENOSYS)
	h, err := Of(c.pid)
	if err != nil {
		t.Fatal(err)
	}
	const bind = "400" // CAP_NET_BIND_SERVICE, in hexadecimal
	if !h.NoNewPrivs || h.SeccompFilters == 0 || os.Geteuid() == 0 && h.Capabilities != bind {
		t.Errorf("%+v", h)
	}
}
