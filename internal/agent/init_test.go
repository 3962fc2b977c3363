package agent

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
	"noid/internal/link/wire"
)

// testInit is the test binary as PID 1.
func testInit(socket string) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s := &Server{Release: "test", Init: true}
	prepare()
	down := becomeInit()
	s.init()
	go s.Serve(l)
	s.serveInit(down)
	select {} // not reached: the machine is off
}

// startInit runs the agent as PID 1 of namespaces of its own, over a root with nothing but busybox in it, and returns
// where it listens.
func startInit(t *testing.T) (*exec.Cmd, string) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("NOT RUN: PID 1 needs a static busybox")
	}
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "bin"), 0o755))
	must(t, os.MkdirAll(filepath.Join(root, "run/of-the-image"), 0o755))
	copyFile(t, busybox, filepath.Join(root, "bin/busybox"))
	for _, name := range []string{"sh", "sleep", "true", "echo", "cat", "ls"} {
		must(t, os.Symlink("busybox", filepath.Join(root, "bin", name)))
	}
	// This test again, as a static binary: there is no library in that root.
	build := exec.Command("go", "test", "-c", "-o", filepath.Join(root, "agent"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: PID 1 needs the go command and this package's source: %v %s", err, out)
	}
	cmd := exec.Command("/agent")
	cmd.Env = []string{"NOID_TEST_INIT=/agent.sock"}
	cmd.Stderr = os.Stderr
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:      root,
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("NOT RUN: PID 1 needs user namespaces: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	socket := filepath.Join(root, "agent.sock")
	eventually(t, "the agent listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return cmd, socket
}

func copyFile(t *testing.T, from, to string) {
	data, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, data, 0o755))
}

func TestInit(t *testing.T) {
	cmd, path := startInit(t)
	if r := do(t, path, wire.Exec{Argv: args("sh", "-c", "echo $PPID; exit 3")}, nil); r.out.String() != "1\n" || r.exit.Code != 3 {
		t.Fatalf("%q %q %+v", r.out.String(), r.err.String(), r.exit)
	}
	// Orphans are reaped, and no job's status is lost among them.
	for i := range 60 {
		r := do(t, path, wire.Exec{Argv: args("sh", "-c", fmt.Sprintf("(sh -c 'exit 9' &); (true & true &); exit %d", i))}, nil)
		if r.exit.Code != i {
			t.Fatalf("job %d: %+v", i, r.exit)
		}
	}
	eventually(t, "no zombies", func() bool { return zombies(t, cmd.Process.Pid) == 0 })
	for _, dir := range []string{"proc", "sys", "dev", "dev/pts", "dev/shm", "tmp", "run"} {
		if !login.IsDir(filepath.Join(filepath.Dir(path), dir)) {
			t.Errorf("no /%s", dir)
		}
	}
	if r := do(t, path, wire.Exec{Argv: args("ls", "-d", "/run/of-the-image")}, nil); r.exit.Code != 0 {
		t.Errorf("what the root has in /run is hidden: %s", r.err.String())
	}
	if info, err := os.Stat(filepath.Join(filepath.Dir(path), "tmp")); err != nil || info.Mode().Perm() != 0o777 || info.Mode()&os.ModeSticky == 0 {
		t.Errorf("/tmp: %v, %v", info, err)
	}
	if r := do(t, path, wire.Exec{TTY: true, Argv: args("sh", "-c", "test -t 0 && echo terminal")}, nil); r.out.String() != "terminal\r\n" {
		t.Errorf("terminal: %q %+v", r.out.String(), r.exit)
	}
}

// zombies counts the dead children of a process.
func zombies(t *testing.T, parent int) (n int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		data, _ := os.ReadFile(s)
		_, rest, _ := strings.Cut(string(data), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[0] == "Z" && f[1] == strconv.Itoa(parent) {
			n++
		}
	}
	return n
}

// The kernel ends a PID namespace whose init powers off with SIGINT, and one that restarts with SIGHUP (reboot(2)).
func TestInitPowersOff(t *testing.T) {
	for _, how := range []string{"SIGTERM", "SIGINT", "SIGPWR", "request"} {
		t.Run(how, func(t *testing.T) {
			cmd, path := startInit(t)
			// One process that obeys SIGTERM and one that does not.
			for _, script := range []string{"exec sleep 1000", "trap '' TERM; echo; exec sleep 1000"} {
				e := wire.Exec{Job: newID(), Argv: args("sh", "-c", script), Detach: true}
				ask(t, path, wire.Request{Op: wire.OpExec, Exec: &e})
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			if how == "request" {
				ask(t, path, wire.Request{Op: wire.OpPoweroff})
			} else {
				cmd.Process.Signal(unix.SignalNum(how))
			}
			err := <-ended
			status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			want := syscall.SIGINT
			if hasVirtio(virtioVsock) && how != "request" {
				want = syscall.SIGHUP
			}
			if !ok || !status.Signaled() || status.Signal() != want {
				t.Errorf("ended by %v, want %v", err, want)
			}
		})
	}
}
