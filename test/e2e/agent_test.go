package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// TestExec is what exec promises, over the agent, on one VM.
func TestExec(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	t.Run("Table", func(t *testing.T) { execTable(n.in(t)) })
	t.Run("Refusals", func(t *testing.T) { execRefusals(n.in(t)) })
	t.Run("Stdin", func(t *testing.T) { execStdin(n.in(t)) })
	t.Run("Signals", func(t *testing.T) { execSignals(n.in(t)) })
	t.Run("Terminal", func(t *testing.T) { execTerminal(n.in(t)) })
	t.Run("Detached", func(t *testing.T) { execDetached(n.in(t)) })
	t.Run("AtOnce", func(t *testing.T) { execAtOnce(n.in(t)) })
	t.Run("InARow", func(t *testing.T) { execInARow(n.in(t)) })
	t.Run("Serial", func(t *testing.T) {
		n := n.in(t)
		n.equal("over the console", "hello\n", n.want(0, "exec", "--serial", "a", "echo", "hello"))
		n.want(9, "exec", "--serial", "a", "--", "sh", "-c", "exit 9")
	})
}

// in is n reporting to a subtest.
func (n noid) in(t testing.TB) noid {
	n.t = t
	return n
}

func execTable(n noid) {
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		args          []string
		code          int
		stdout, stder string // stder: what stderr must contain
	}{
		{[]string{"a", "true"}, 0, "", ""},
		{[]string{"a", "false"}, 1, "", ""},
		{[]string{"a", "--", "sh", "-c", "exit 37"}, 37, "", ""},
		{[]string{"a", "--", "sh", "-c", "echo out; echo err >&2"}, 0, "out\n", "err\n"},
		{[]string{"a", "nosuchcommand"}, 127, "", "nosuchcommand"},
		{[]string{"a", "/etc"}, 126, "", "/etc"},
		{[]string{"a", "--", "sh", "-c", "kill -TERM $$"}, 143, "", ""},
		{[]string{"a", "--", "sh", "-c", "kill -KILL $$"}, 137, "", ""},
		{[]string{"a", "--", "printf", "%s", "it's \"quoted\" $HOME `x` \\ \n\ttab"}, 0, "it's \"quoted\" $HOME `x` \\ \n\ttab", ""},
		{[]string{"a", "--", "printf", "äöü €𝄞"}, 0, "äöü €𝄞", ""},
		{[]string{"a", "--", "printf", "no newline\\r\\n\\000end"}, 0, "no newline\r\n\x00end", ""},
		{[]string{"a", "--", "printf", "%s", ""}, 0, "", ""},
		{[]string{"a", "--", "printf", "%s", long}, 0, long, ""},
		{[]string{"-e", "K=v w", "-e", "E=", "a", "--", "sh", "-c", `printf "%s|%s" "$K" "${E-unset}"`}, 0, "v w|", ""},
		{[]string{"-w", "/etc", "a", "pwd"}, 0, "/etc\n", ""},
		{[]string{"-w", "/nosuch", "a", "pwd"}, 126, "", "/nosuch"},
		{[]string{"a", "--", "sh", "-c", "id -u; echo $HOME $USER"}, 0, "0\n/root root\n", ""},
		{[]string{"-u", "12:34", "a", "--", "sh", "-c", "id -u; id -g"}, 0, "12\n34\n", ""},
		{[]string{"a", "--", "sh", "-c", "sleep 1000 & echo back"}, 0, "back\n", ""},
		{[]string{"--timeout", "1s", "a", "--", "sh", "-c", "echo a; sleep 1000; echo b"}, 124, "a\n", ""},
		{[]string{"a", "cat"}, 0, "", ""},
		{[]string{"a", "--", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' y"}, 0, strings.Repeat("y", 3_000_000), ""},
	} {
		out, errs, code := n.run(append([]string{"exec"}, c.args...)...)
		if code != c.code || out != c.stdout || !strings.Contains(errs, c.stder) {
			n.t.Errorf("exec %.200q: exit %d, stdout %.300q, stderr %.300q; wanted %d, %.300q, %q", c.args, code, out, errs, c.code, c.stdout, c.stder)
		}
	}
	// 200 KB of arguments in all; one argument may have 128 KiB (MAX_ARG_STRLEN in the kernel's binfmts.h).
	args := []string{"exec", "a", "--", "sh", "-c", "echo $#", "sh"}
	for range 20 {
		args = append(args, strings.Repeat("a", 10_000))
	}
	n.equal("many arguments", "20\n", n.want(0, args...))
}

func execRefusals(n noid) {
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{125, `no vm "nosuch"`, []string{"exec", "nosuch", "true"}},
		{2, "", []string{"exec", "a"}},
		{125, "nosuchuser", []string{"exec", "-u", "nosuchuser", "a", "true"}},
		{2, "terminal", []string{"exec", "-it", "a", "sh"}},
		{3, "", []string{"kill", "a", "deadbeef"}},
		{2, "", []string{"kill", "a", "deadbeef", "--signal", "NOPE"}},
		{3, "", []string{"ps", "nosuch"}},
	} {
		if _, errs, code := n.run(c.args...); code != c.code || !strings.Contains(errs, c.says) {
			n.t.Errorf("noid %q: exit %d, stderr %q; wanted %d and %q", c.args, code, errs, c.code, c.says)
		}
	}
}

func execStdin(n noid) {
	// Without -i the script's own input stays its own, and an open one does not hang.
	r, w := io.Pipe()
	defer w.Close()
	cmd := n.cmd(n.t.Context(), "exec", "a", "cat")
	cmd.Stdin = r
	done := make(chan error, 1)
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	go func() { _, err := cmd.Process.Wait(); done <- err }()
	select {
	case err := <-done:
		if err != nil {
			n.t.Error(err)
		}
	case <-time.After(time.Minute):
		n.t.Error("exec without -i waits for its stdin")
		cmd.Process.Kill()
	}
	data := make([]byte, 64<<20)
	source := rand.NewChaCha8([32]byte{1})
	source.Read(data)
	out := sha256.New()
	cmd = n.cmd(n.t.Context(), "exec", "-i", "a", "cat")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), out, os.Stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Logf("64 MiB there and back: %.1f MB/s each way", 64*1.048576/time.Since(began).Seconds())
	if want := sha256.Sum256(data); !bytes.Equal(out.Sum(nil), want[:]) {
		n.t.Error("64 MiB through cat came back different")
	}
}

func execSignals(n noid) {
	for _, s := range []struct {
		signal syscall.Signal
		name   string
		code   int
	}{{syscall.SIGINT, "INT", 42}, {syscall.SIGTERM, "TERM", 42}, {syscall.SIGHUP, "HUP", 42}, {syscall.SIGQUIT, "QUIT", 42}} {
		cmd := n.cmd(n.t.Context(), "exec", "a", "--", "sh", "-c", "trap 'echo got "+s.name+"; exit 42' "+s.name+"; echo ready; while :; do sleep 0.1; done")
		out, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			n.t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan()
		cmd.Process.Signal(s.signal)
		lines.Scan()
		n.equal("what the command heard", "got "+s.name, lines.Text())
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != s.code {
			n.t.Errorf("%s: exit %d, not %d", s.name, code, s.code)
		}
	}
	// The client's death ends the command.
	cmd := n.cmd(n.t.Context(), "exec", "a", "sleep", "4242")
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	count := "ps | grep -c '[s]leep 4242'"
	n.until("the command starts", func() bool { out, _, _ := n.run("exec", "a", "--", "sh", "-c", count); return out == "1\n" })
	cmd.Process.Kill()
	cmd.Wait()
	n.until("the command ends with its client", func() bool { out, _, _ := n.run("exec", "a", "--", "sh", "-c", count); return out == "0\n" })
}

// until waits up to bootLimit for what the guest does in its own time.
func (n noid) until(what string, ok func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(bootLimit); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("%s: not within %v", what, bootLimit)
		}
	}
}

// screen collects what a terminal shows.
type screen struct {
	mu sync.Mutex
	b  []byte
}

func (s *screen) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = append(s.b, data...)
	return len(data), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.b)
}

func execTerminal(n noid) {
	cmd := n.cmd(n.t.Context(), "exec", "-it", "a", "sh")
	cmd.Env = append(cmd.Env, "TERM=xterm")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 101})
	if err != nil {
		n.t.Fatal(err)
	}
	defer tty.Close()
	var shown screen
	go io.Copy(&shown, tty)
	see := func(text string) {
		n.t.Helper()
		n.until("terminal shows "+text, func() bool { return strings.Contains(shown.String(), text) })
	}
	see("# ")
	io.WriteString(tty, "stty size; tty; echo $TERM\r")
	see("33 101")
	see("/dev/pts/")
	see("xterm")
	pty.Setsize(tty, &pty.Winsize{Rows: 25, Cols: 81})
	n.until("the guest hears of the new size", func() bool {
		io.WriteString(tty, "stty size\r")
		time.Sleep(200 * time.Millisecond)
		return strings.Contains(shown.String(), "25 81")
	})
	io.WriteString(tty, "sleep 1000\r")
	time.Sleep(500 * time.Millisecond)
	io.WriteString(tty, "\x03")
	io.WriteString(tty, "echo status=$?\r")
	see("status=130")
	io.WriteString(tty, "cat; echo eof=$?\r")
	time.Sleep(500 * time.Millisecond)
	io.WriteString(tty, "\x04")
	see("eof=0")
	io.WriteString(tty, "vi /tmp/new\r")
	see("\x1b[24;1H~")                                         // the last text row of 25, by xterm's cursor addressing
	for _, keys := range []string{"ihello", "\x1b", ":wq\r"} { // a key right after Esc would be part of a sequence
		io.WriteString(tty, keys)
		time.Sleep(time.Second)
	}
	io.WriteString(tty, "cat /tmp/new; exit 5\r")
	see("hello\r\n")
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
		n.t.Errorf("exit %d, not 5", cmd.ProcessState.ExitCode())
	}
}

type job struct{ ID, State, Command string }

func (n noid) jobs() (list []job) {
	n.t.Helper()
	if err := json.Unmarshal([]byte(n.want(0, "ps", "--json", "a")), &list); err != nil {
		n.t.Fatal(err)
	}
	return list
}

func execDetached(n noid) {
	if out, errs, code := n.run("exec", "-d", "a", "nosuchcommand"); code != 127 || out != "" || !strings.Contains(errs, "not found") {
		n.t.Errorf("exec -d of what is not there: exit %d, %q, %q", code, out, errs)
	}
	id := strings.TrimSpace(n.want(0, "exec", "-d", "a", "--", "sh", "-c", "echo started >/tmp/detached; exec sleep 777"))
	n.until("the detached command runs", func() bool { out, _, _ := n.run("exec", "a", "cat", "/tmp/detached"); return out == "started\n" })
	if out := n.want(0, "ps", "a"); !strings.Contains(out, id) || !strings.Contains(out, "sleep 777") {
		n.t.Errorf("ps does not list %s:\n%s", id, out)
	}
	n.want(0, "kill", "a", id[:4])
	n.until("the killed command ends", func() bool {
		for _, j := range n.jobs() {
			if strings.HasPrefix(j.ID, id) && j.State == "running" {
				return false
			}
		}
		return true
	})
}

func execAtOnce(n noid) {
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			want := fmt.Sprintf("%d\n", i)
			if out, errs, code := n.run("exec", "a", "--", "sh", "-c", "sleep 1; echo "+strconv.Itoa(i)); code != 0 || out != want {
				n.t.Errorf("one of 50 at once: exit %d, %q, %q", code, out, errs)
			}
		})
	}
	wg.Wait()
}

// execInARow runs many commands and then counts what is left in the guest and on the host.
func execInARow(n noid) {
	count := func() (processes, agentFDs, agentKiB int) {
		out := n.want(0, "exec", "a", "--", "sh", "-c", "ls -d /proc/[0-9]* | wc -l; ls /proc/$PPID/fd | wc -l; sed -n 's/VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$PPID/status")
		if _, err := fmt.Sscan(out, &processes, &agentFDs, &agentKiB); err != nil {
			n.t.Fatalf("%q: %v", out, err)
		}
		return
	}
	// host counts over the VM's processes there; QEMU's own memory is the guest's business.
	host := func() (fds, helperKiB int) {
		dir := filepath.Join(n.home, "storage/vms/a")
		procs, _ := filepath.Glob("/proc/[0-9]*")
		for _, p := range procs {
			if cwd, _ := os.Readlink(filepath.Join(p, "cwd")); cwd != dir {
				continue
			}
			list, _ := os.ReadDir(filepath.Join(p, "fd"))
			fds += len(list)
			if exe, _ := os.Readlink(filepath.Join(p, "exe")); filepath.Base(exe) == "noid" {
				status, _ := os.ReadFile(filepath.Join(p, "status"))
				_, rss, _ := strings.Cut(string(status), "VmRSS:")
				var kib int
				fmt.Sscan(rss, &kib)
				helperKiB += kib
			}
		}
		return fds, helperKiB
	}
	const growth = 16 << 10 // KiB that a garbage collector may take or leave
	n.want(0, "exec", "a", "true")
	processes, fds, agentKiB := count()
	hostFDs, helperKiB := host()
	times := 300
	if os.Getenv("NOID_TEST_LONG") != "" {
		times = 3000
	}
	for i := range times {
		if out, errs, code := n.run("exec", "a", "echo", strconv.Itoa(i)); code != 0 || out != strconv.Itoa(i)+"\n" {
			n.t.Fatalf("exec %d in a row: exit %d, %q, %q", i, code, out, errs)
		}
	}
	n.until("the guest has no more processes, descriptors and memory in use than before", func() bool {
		p, f, m := count()
		return p <= processes && f <= fds && m <= agentKiB+growth
	})
	n.until("the host has no more descriptors and memory in use than before", func() bool {
		f, m := host()
		return f <= hostFDs && m <= helperKiB+growth
	})
}

// TestExecAcrossCheckpoints streams numbered lines while the VM is checkpointed, paused, resumed and cloned: nothing is
// lost, nothing comes twice.
func TestExecAcrossCheckpoints(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	const lines = 300
	cmd := n.cmd(t.Context(), "exec", "-i", "a", "--", "sh", "-c", "i=0; while [ $i -lt "+strconv.Itoa(lines)+" ]; do echo line $i; i=$((i+1)); sleep 0.1; done; cat; exit 33")
	var out, errs screen
	cmd.Stdout, cmd.Stderr = &out, &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	at := func(line int) {
		n.until("line "+strconv.Itoa(line), func() bool { return strings.Contains(out.String(), "line "+strconv.Itoa(line)+"\n") })
	}
	var ids []string
	for i := range 3 {
		at(20 + 40*i)
		ids = append(ids, strings.TrimSpace(n.want(0, "checkpoint", "a")))
	}
	at(150)
	n.want(0, "pause", "a")
	time.Sleep(time.Second)
	n.want(0, "resume", "a")
	at(170)
	n.want(0, "restore", "a", ids[1], "--as", "b")
	io.WriteString(in, "from the host\n")
	in.Close()
	cmd.Wait()
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	want.WriteString("from the host\n")
	if code := cmd.ProcessState.ExitCode(); code != 33 || out.String() != want.String() {
		t.Errorf("exit %d, stderr %q; the lines are right: %v\n%s", code, errs.String(), out.String() == want.String(), out.String())
	}
	// In the clone the command runs on with nobody attached.
	if list := n.want(0, "ps", "b"); !strings.Contains(list, "echo line") {
		t.Errorf("the clone's ps does not show the source's command:\n%s", list)
	}
	n.equal("exec in the clone", "ok\n", n.want(0, "exec", "b", "echo", "ok"))
}

// TestIdentity takes a checkpoint of a guest whose clock is an hour late, as that of a checkpoint made an hour ago is,
// and looks at two clones of it and at the source restored in place.
func TestIdentity(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "source", "--wait")
	hook := `mkdir -p /etc/noid/on-restore.d; printf '#!/bin/sh\necho "$NOID_EVENT $NOID_NAME $NOID_SOURCE" >>/root/events\n' >/etc/noid/on-restore.d/10-log; chmod +x /etc/noid/on-restore.d/10-log`
	n.want(0, "exec", "source", "--", "sh", "-c", "cat /proc/sys/kernel/random/uuid | tr -d - >/etc/machine-id; hostname source; "+hook)
	n.want(0, "exec", "source", "--", "sh", "-c", "date -s @$(($(date +%s) - 3600)) >/dev/null")
	id := strings.TrimSpace(n.want(0, "checkpoint", "source"))
	source := n.look("source")
	n.want(0, "restore", "source", id, "--as", "one")
	n.want(0, "restore", "source", id, "--as", "two")
	n.want(0, "restore", "source", id, "--as", "twin", "--keep-identity")
	one, two, twin := n.look("one"), n.look("two"), n.look("twin")
	n.equal("hostname", "one", one.hostname)
	n.equal("hostname", "two", two.hostname)
	n.equal("the twin's hostname", source.hostname, twin.hostname)
	n.equal("the twin's machine-id", source.machineID, twin.machineID)
	if one.machineID == source.machineID || one.machineID == two.machineID || len(one.machineID) != 32 {
		t.Errorf("machine-ids: source %s, clones %s and %s", source.machineID, one.machineID, two.machineID)
	}
	if one.random == two.random || one.random == source.random || one.random == twin.random || two.random == twin.random {
		t.Errorf("the same random bytes twice: %s %s %s %s", source.random, one.random, two.random, twin.random)
	}
	n.equal("the clone's hook", "clone one source@"+id, one.events)
	n.want(0, "restore", "source", id)
	back := n.look("source")
	n.equal("hostname in place", source.hostname, back.hostname)
	n.equal("machine-id in place", source.machineID, back.machineID)
	n.equal("the hook in place", "restore source source@"+id, back.events)
	for _, g := range []guest{one, two, twin, back} {
		if d := g.clock.Sub(g.looked); d < -5*time.Second || d > 5*time.Second { // an hour would show; emulation may be slow
			t.Errorf("%s: its clock is off by %v", g.hostname, d)
		}
	}
}

type guest struct {
	hostname, machineID, random, events string
	clock, looked                       time.Time
}

func (n noid) look(name string) (g guest) {
	n.t.Helper()
	before := time.Now()
	out := n.want(0, "exec", name, "--", "sh", "-c", "date +%s; hostname; cat /etc/machine-id; head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; tail -n 1 /root/events 2>/dev/null || :")
	g.looked = before.Add(time.Since(before) / 2)
	f := strings.Split(out, "\n")
	if len(f) < 5 {
		n.t.Fatalf("%q", out)
	}
	sec, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		n.t.Fatal(err)
	}
	g.clock, g.hostname, g.machineID, g.random, g.events = time.Unix(sec, 0), f[1], f[2], f[3], f[4]
	return g
}

// TestGuests runs commands in guests of every kind: their own init, untouched, or none at all.
func TestGuests(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	for _, kind := range []struct{ name, env, init, command string }{
		{"systemd", "NOID_TEST_ROOTFS_SYSTEMD", "/usr/lib/systemd/systemd\n", "/bin/true"},
		{"alpine", "NOID_TEST_ROOTFS_ALPINE", "/bin/busybox\n", "/bin/true"},
		{"bare", "NOID_TEST_ROOTFS_BARE", "", "/app"},
	} {
		t.Run(kind.name, func(t *testing.T) {
			rootfs := os.Getenv(kind.env)
			n := setup(t).in(t)
			if rootfs == "" {
				t.Skip("NOT RUN: " + kind.env + " is not set ('make test' sets it where it can make one)")
			}
			n.want(0, "create", "a", "--rootfs", rootfs, "--mem", "512", "--wait")
			n.want(0, "exec", "a", kind.command)
			if kind.init != "" {
				n.equal("process 1", kind.init, n.want(0, "exec", "a", "readlink", "/proc/1/exe"))
			}
			n.named("a")
			id := strings.TrimSpace(n.want(0, "checkpoint", "a"))
			n.want(0, "restore", "a", id, "--as", "b")
			n.want(0, "exec", "b", kind.command)
			if kind.init != "" {
				n.killAgent("b")
			}
			n.want(0, "destroy", "b")
			n.want(0, "stop", "a")
			n.equal("state", "stopped", n.state("a"))
			n.want(0, "start", "a")
			n.want(0, "exec", "a", kind.command)
			n.named("a")
		})
	}
}

// named looks whether the guest of name has that name, as its agent says.
func (n noid) named(name string) {
	n.t.Helper()
	var info struct {
		Guest struct {
			Hostname string `json:"hostname"`
		} `json:"guest"`
	}
	n.until("the agent of "+name+" tells its hostname", func() bool { // which inspect does not wait for
		check(n.t, json.Unmarshal([]byte(n.want(0, "inspect", name)), &info))
		return info.Guest.Hostname != ""
	})
	n.equal("the guest's hostname", name, info.Guest.Hostname)
}

// TestNamedWhileBooting makes a VM that boots, and clones of it meanwhile: each has its own name and machine-id at its
// first command, and when its init has set what it read in between.
func TestNamedWhileBooting(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := setup(t)
	names := []string{"a", "b", "a-longer-name"}
	n.want(0, "create", names[0], "--cold")
	log := filepath.Join(n.home, "storage/vms", names[0], "serial.log")
	n.until("the guest boots", func() bool { return onDisk(log) > 0 })
	for _, name := range names[1:] {
		n.want(0, "fork", names[0], "--as", name)
	}
	ids := map[string]string{}
	for _, name := range names {
		out := strings.Fields(n.want(0, "exec", name, "--", "sh", "-c", "hostname; cat /etc/hostname /etc/machine-id"))
		if len(out) != 3 || out[0] != name || out[1] != name || len(out[2]) != 32 {
			t.Errorf("the first command in %s finds %q", name, out)
			continue
		}
		if other := ids[out[2]]; other != "" {
			t.Errorf("%s has the machine-id of %s", name, other)
		}
		ids[out[2]] = name
	}
	for _, name := range names {
		n.until("there is a shell on its console", func() bool {
			return strings.Contains(n.want(0, "exec", name, "ps"), "-/bin/sh")
		})
		n.equal("hostname", name+"\n", n.want(0, "exec", name, "hostname"))
	}
}

// TestNoAgent is a VM without noid's agent: exec goes over the console.
func TestNoAgent(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "a", "--no-agent", "--wait")
	n.equal("exec", "ok\n", n.want(0, "exec", "a", "echo", "ok"))
	if _, errs, code := n.run("exec", "-u", "nobody", "a", "true"); code == 0 || !strings.Contains(errs, "agent") {
		t.Errorf("exec -u without an agent: exit %d, %q", code, errs)
	}
	if _, errs, code := n.run("cp", "a:/etc/passwd", t.TempDir()); code != 5 || !strings.Contains(errs, "agent") {
		t.Errorf("cp without an agent: exit %d, %q", code, errs)
	}
}

// TestCopy takes files there and back.
func TestCopy(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "sub"), 0o750); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{2}).Read(data)
	for name, content := range map[string][]byte{"big": data, "empty": nil, "sub/ä\nb": []byte("x")} {
		if err := os.WriteFile(filepath.Join(tree, name), content, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("big", filepath.Join(tree, "link"))
	os.Link(filepath.Join(tree, "big"), filepath.Join(tree, "hard"))
	n.want(2, "cp", tree, "a:/root/")
	n.want(0, "cp", "-r", tree, "a:/root/")
	n.want(0, "cp", "-r", "a:/root/tree", filepath.Join(dir, "back"))
	if out, err := exec.Command("diff", "-r", "--no-dereference", tree, filepath.Join(dir, "back")).CombinedOutput(); err != nil {
		t.Errorf("the copy differs: %v\n%s", err, out)
	}
	n.want(3, "cp", "a:/nosuch", dir)
	n.want(0, "cp", "a:/root/tree/big", filepath.Join(dir, "one"))
	if got, _ := os.ReadFile(filepath.Join(dir, "one")); !bytes.Equal(got, data) {
		t.Error("one file came back different")
	}
	tar := n.cmd(context.Background(), "cp", "-r", "a:/root/tree", "-")
	list := exec.Command("tar", "-tf", "-")
	list.Stdin, _ = tar.StdoutPipe()
	if err := tar.Start(); err != nil {
		t.Fatal(err)
	}
	out, err := list.Output()
	if tar.Wait() != nil || err != nil || !strings.Contains(string(out), "tree/sub/") {
		t.Errorf("the tar stream: %v\n%s", err, out)
	}
}
