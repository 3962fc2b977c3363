package confine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childEnv makes this test binary a process that tries what it reads on its stdin, a line an attempt, and says how it
// went.
const childEnv = "NOID_CONFINE_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "self":
		if err := Self(Access{Dir: "own", Read: []string{".", "/proc/self"}, Sockets: "sockets"}); err != nil {
			panic(err)
		}
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		err := attempts[verb](arg)
		if err == nil {
			err = unix.Errno(0)
		}
		fmt.Printf("%d\n", int(err.(unix.Errno)))
	}
}

func opened(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

var attempts = map[string]func(arg string) error{
	"read":    func(path string) error { return opened(unix.Open(path, unix.O_RDONLY, 0)) },
	"write":   func(path string) error { return opened(unix.Open(path, unix.O_WRONLY, 0)) },
	"create":  func(path string) error { return opened(unix.Open(path, unix.O_WRONLY|unix.O_CREAT, 0o777)) },
	"list":    func(path string) error { return opened(unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)) },
	"remove":  func(path string) error { return unix.Unlink(path) },
	"mkdir":   func(path string) error { return unix.Mkdir(path, 0o700) },
	"symlink": func(path string) error { return unix.Symlink("/etc/passwd", path) },
	"mkfifo":  func(path string) error { return unix.Mkfifo(path, 0o600) },
	"exec":    func(path string) error { return unix.Exec(path, []string{path}, nil) },
	"socket":  func(family string) error { return opened(unix.Socket(number(family), unix.SOCK_STREAM, 0)) },
	"listen": func(path string) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
		}
		return opened(fd, err)
	},
	"connect": func(path string) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return opened(fd, unix.Connect(fd, &unix.SockaddrUnix{Name: path}))
	},
	"signal": func(pid string) error { return unix.Kill(number(pid), 0) },
	"ptrace": func(pid string) error { return unix.PtraceAttach(number(pid)) },
	"unshare": func(string) error {
		runtime.LockOSThread() // a namespace of users is refused to a process of many threads anyway: EINVAL
		return unix.Unshare(unix.CLONE_NEWUTS)
	},
	"clone3": func(string) error {
		_, _, errno := unix.Syscall(unix.SYS_CLONE3, 0, 0, 0)
		return errno
	},
	"setrlimit": func(resource string) error {
		var l unix.Rlimit
		if err := unix.Getrlimit(number(resource), &l); err != nil {
			return err
		}
		_, _, errno := unix.Syscall(unix.SYS_SETRLIMIT, uintptr(number(resource)), uintptr(unsafe.Pointer(&l)), 0)
		return errno
	},
	"prlimit": func(resource string) error {
		var l unix.Rlimit
		if err := unix.Prlimit(0, number(resource), nil, &l); err != nil {
			return err
		}
		return unix.Prlimit(0, number(resource), &l, nil)
	},
	"io_uring": func(string) error {
		_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
		return errno
	},
}

// child is a confined process that makes attempts.
type child struct {
	t   *testing.T
	pid int
	in  io.Writer
	out *bufio.Scanner
}

func start(t *testing.T, p Policy) child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Dir, cmd.Env, cmd.Stderr = p.Dir, []string{childEnv + "=1"}, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := Start(cmd, p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		Leave(cmd.Process.Pid)
	})
	return child{t, cmd.Process.Pid, in, bufio.NewScanner(out)}
}

func (c child) try(attempt string, want unix.Errno) {
	c.t.Helper()
	fmt.Fprintln(c.in, attempt)
	if !c.out.Scan() {
		c.t.Fatalf("%s: the process is gone", attempt)
	}
	if got := unix.Errno(number(c.out.Text())); got != want {
		c.t.Errorf("%s: %q, want %q", attempt, got, want)
	}
}

func touch(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// landlock skips where the kernel has less of Landlock than the test is about.
func landlock(t *testing.T, abi int) {
	t.Helper()
	if have, err := LandlockABI(); err != nil || have < abi {
		t.Skipf("NOT RUN: Landlock's ABI is %d, not %d or later (%v)", have, abi, err)
	}
}

func TestFiles(t *testing.T) {
	landlock(t, 3)
	dir, outside := filepath.Join(t.TempDir(), "dir"), t.TempDir()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	other, kernel, own := touch(t, filepath.Join(outside, "other")), touch(t, filepath.Join(outside, "kernel")), touch(t, filepath.Join(dir, "own"))
	touch(t, filepath.Join(dir, "record"))
	if err := os.Mkdir(filepath.Join(dir, "make"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := start(t, Policy{Dir: dir, Read: []string{kernel, "/nonexistent"}, Write: []string{"own", "nonexistent"}, Make: "make"})
	for _, attempt := range []string{"write own", "read own", "read record", "create make/new", "write make/new", "list .", "listen sock", "read " + kernel,
		"write " + own, "write /dev/null"} {
		c.try(attempt, 0)
	}
	for _, attempt := range []string{"write " + other, "read " + other, "create " + outside + "/new", "remove " + other, "list " + outside, "write " + kernel,
		"read /etc/passwd", "write ../../x", "listen " + outside + "/sock", "mkdir d", "symlink s", "mkfifo f", "create new", "write record", "remove record",
		"remove own", "symlink make/s", "remove make/new"} {
		want := unix.EACCES
		if attempt == "write ../../x" {
			want = unix.ENOENT
		}
		c.try(attempt, want)
	}
	// The directory gets another name, and in its place comes another: its own stays its own, the other is not.
	moved := filepath.Join(filepath.Dir(dir), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c.try("write own", 0)
	c.try("create make/later", 0)
	c.try("write "+moved+"/own", 0)
	c.try("create "+dir+"/new", unix.EACCES)
	info, err := os.Stat(filepath.Join(moved, "make/later"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a file that was to be 0777 is %v, %v; the umask is not 077", info.Mode(), err)
	}
}

func TestExec(t *testing.T) {
	landlock(t, 1)
	dir := t.TempDir()
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Skipf("NOT RUN: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "program"), program, 0o700); err != nil {
		t.Fatal(err)
	}
	c := start(t, Policy{Dir: dir})
	c.try("exec /bin/true", unix.EACCES)
	c.try("exec ./program", unix.EACCES)
}

func TestNetwork(t *testing.T) {
	dir := t.TempDir()
	c := start(t, Policy{Dir: dir})
	c.try("listen sock", 0)
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET, unix.AF_VSOCK} {
		c.try("socket "+strconv.Itoa(family), unix.EACCES)
	}
	c.try("socket "+strconv.Itoa(unix.AF_UNIX), 0)
	c.try("connect sock", unix.EPERM)
	c.try("clone3", unix.ENOSYS)
	c.try("io_uring", unix.ENOSYS)
	c.try("unshare", unix.EPERM)
}

func TestOtherProcesses(t *testing.T) {
	c := start(t, Policy{Dir: t.TempDir()})
	c.try("ptrace "+strconv.Itoa(os.Getpid()), unix.EPERM)
	landlock(t, 6)
	c.try("signal "+strconv.Itoa(os.Getpid()), unix.EPERM)
	c.try("signal "+strconv.Itoa(c.pid), 0)
}

func TestOf(t *testing.T) {
	c := start(t, Policy{Dir: t.TempDir(), Limits: Limits{CPUs: 1, FileBytes: 12345678}})
	c.try("read .", 0) // it runs
	h, err := Of(c.pid)
	if err != nil {
		t.Fatal(err)
	}
	abi, _ := LandlockABI()
	own, err := status("self")
	if err != nil {
		t.Fatal(err)
	}
	if !h.NoNewPrivs || h.SeccompFilters != own.SeccompFilters+1 || h.LandlockABI != abi {
		t.Errorf("%+v; want NO_NEW_PRIVS, one filter more than %d, Landlock ABI %d", h, own.SeccompFilters, abi)
	}
	if os.Geteuid() == 0 && h.Capabilities != "0" {
		t.Errorf("capabilities %s", h.Capabilities)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", c.pid))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"Max core file size": "0", "Max file size": "12345678", "Max open files": "1040", "Max locked memory": "65536"} {
		_, line, found := strings.Cut(string(limits), name)
		hard := want
		if name == "Max file size" {
			hard = "unlimited"
		}
		if fields := strings.Fields(line); !found || len(fields) < 2 || fields[0] != want || fields[1] != hard {
			t.Errorf("%s: %.40q, want %s and %s", name, line, want, hard)
		}
	}
}

// TestFileLength: noid alone makes a file's limit larger.
func TestFileLength(t *testing.T) {
	c := start(t, Policy{Dir: t.TempDir(), Limits: Limits{FileBytes: 1 << 20}})
	for _, call := range []string{"setrlimit", "prlimit"} {
		c.try(fmt.Sprintf("%s %d", call, unix.RLIMIT_FSIZE), unix.EPERM)
		c.try(fmt.Sprintf("%s %d", call, unix.RLIMIT_NOFILE), 0)
	}
	for _, step := range []struct{ ask, have uint64 }{{2 << 20, 2 << 20}, {1 << 20, 2 << 20}} {
		var now unix.Rlimit
		if err := errors.Join(AllowLength(c.pid, int64(step.ask)), unix.Prlimit(c.pid, unix.RLIMIT_FSIZE, nil, &now)); err != nil || now.Cur != step.have {
			t.Errorf("asked for %d: %+v, %v", step.ask, now, err)
		}
	}
}

// TestForeignDirectory: root may run a VM of another user's home, for which it keeps one capability.
func TestForeignDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs root")
	}
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "own"))
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Skipf("NOT RUN: %v", err)
	}
	c := start(t, Policy{Dir: dir, Write: []string{"own"}})
	c.try("write own", 0)
	if h, err := Of(c.pid); err != nil || h.Capabilities != strconv.FormatUint(1<<unix.CAP_DAC_OVERRIDE, 16) {
		t.Errorf("%+v, %v; want CAP_DAC_OVERRIDE alone", h, err)
	}
}

func TestDescriptors(t *testing.T) {
	// One that whoever started noid left open: without close-on-exec.
	left, err := unix.Dup(1)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(left)
	path, err := exec.LookPath("sleep")
	if err != nil {
		t.Skipf("NOT RUN: %v", err)
	}
	cmd := exec.Command(path, "60")
	cmd.Env = []string{"LC_ALL=C"} // no files of a locale's
	if err := Start(cmd, Policy{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var got []string
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", cmd.Process.Pid, e.Name()))
		if err == nil && !strings.HasSuffix(link, ".so.6") && link != "/etc/ld.so.cache" { // its loader is at work, or was
			got = append(got, e.Name())
		}
	}
	if !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("descriptors %v", got)
	}
}

// TestScript: a wrapper around a VMM may start what it wants, and still writes nowhere else.
func TestScript(t *testing.T) {
	landlock(t, 1)
	dir, outside := t.TempDir(), t.TempDir()
	script := filepath.Join(outside, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ncat /dev/null; echo > make/inside; echo > "+outside+"/out\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script)
	cmd.Dir = dir
	if err := os.Mkdir(filepath.Join(dir, "make"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Start(cmd, Policy{Dir: dir, Make: "make"}); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if _, err := os.Stat(filepath.Join(dir, "make/inside")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(outside, "out")); err == nil {
		t.Error("it wrote outside of its directory")
	}
}

// TestSelfStaysFree: nothing of it is left on this process, whichever of its threads did the work.
func TestSelfStaysFree(t *testing.T) {
	before, err := status("self")
	if err != nil {
		t.Fatal(err)
	}
	dir, outside := t.TempDir(), touch(t, filepath.Join(t.TempDir(), "outside"))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			OnDyingThread(func() {
				if unix.Gettid() == unix.Getpid() {
					t.Error("it is the main thread")
				}
				rules := newRules(Policy{Dir: dir}, "/bin/true")
				defer rules.close()
				confineThread(Policy{Dir: dir}.reachable, "/bin/true", rules)
			})
		})
	}
	wg.Wait()
	// A thread's end takes a moment.
	deadline := time.Now().Add(10 * time.Second)
	for confined := -1; confined != 0; time.Sleep(time.Millisecond) {
		confined = 0
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if h, err := status("self/task/" + task.Name()); err == nil && h != before {
				confined++
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d threads of %d are confined", confined, len(tasks))
		}
	}
	for range 20 { // new threads are none's children that was confined
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if h, err := status("thread-self"); err != nil || h != before {
				t.Errorf("a thread has %+v, %v; before it was %+v", h, err, before)
			}
			if err := os.WriteFile(outside, nil, 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	h, err := Probe(dir)
	if err != nil {
		t.Fatal(err)
	}
	if abi, _ := LandlockABI(); h.LandlockABI != abi || !h.NoNewPrivs || h.SeccompFilters == 0 {
		t.Errorf("%+v", h)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

// BenchmarkStart is what confining costs a start, with Firecracker where it is on PATH.
func BenchmarkStart(b *testing.B) {
	path, err := exec.LookPath("firecracker")
	args := []string{"--version"}
	if err != nil {
		if path, err = exec.LookPath("true"); err != nil {
			b.Skip(err)
		}
	}
	dir := b.TempDir()
	for _, confined := range []bool{false, true} {
		b.Run(fmt.Sprintf("confined=%t", confined), func(b *testing.B) {
			for b.Loop() {
				cmd := exec.Command(path, args...)
				if confined {
					err = Start(cmd, Policy{Dir: dir})
				} else {
					err = cmd.Start()
				}
				if err != nil {
					b.Fatal(err)
				}
				cmd.Wait()
			}
		})
	}
}
