package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/proc"
	"noid/internal/vmm"
)

// consoleDir makes a VM directory without a VM.
func consoleDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, vmm.SerialInFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(logPath(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// bridge is a shell of this host on a pseudo-terminal between the two console files: a guest without a VM.
type bridge struct {
	dir  string
	dead atomic.Bool
	cmd  *exec.Cmd
	tty  *os.File
	in   *os.File

	process proc.Process // of a real guest, which has none of the rest
}

func (b *bridge) alive() bool {
	if b.process.PID != 0 {
		return b.process.Alive()
	}
	return !b.dead.Load()
}

func (b *bridge) kill() {
	b.dead.Store(true)
	b.cmd.Process.Kill()
	b.tty.Close()
	b.in.Close()
}

func startShell(t *testing.T, argv ...string) *bridge {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Skipf("NOT RUN: no %s on this host", argv[0])
	}
	b := &bridge{dir: consoleDir(t)}
	var err error
	if b.in, err = os.OpenFile(filepath.Join(b.dir, vmm.SerialInFile), os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(logPath(b.dir), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.cmd = exec.Command(argv[0], argv[1:]...)
	b.cmd.Dir = b.dir
	b.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=vt102", "HOME=" + b.dir, "PS1=# "}
	if b.tty, err = pty.Start(b.cmd); err != nil {
		t.Fatal(err)
	}
	go io.Copy(log, b.tty)
	go func() {
		buf := make([]byte, 512)
		for {
			n, err := b.in.Read(buf)
			if err != nil {
				return
			}
			if _, err := b.tty.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		b.kill()
		b.cmd.Wait()
		log.Close()
		if t.Failed() {
			data, _ := os.ReadFile(logPath(b.dir))
			t.Logf("the console's end: %q", data[max(0, len(data)-3000):])
		}
	})
	return b
}

func (b *bridge) run(t *testing.T, o ExecOptions, argv ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	o.Stdout, o.Alive = &out, b.alive
	code, err := Exec(ctx, b.dir, argv, o)
	if err != nil {
		t.Fatalf("Exec %.80q: %v", argv, err)
	}
	return out.String(), code
}

// shells are those that a guest may have on its console.
var shells = map[string][]string{
	"ash":  {"busybox", "ash", "-i"},
	"dash": {"dash", "-i"},
	"bash": {"bash", "--norc", "-i"},
	// A guest without stty, whose tty turns LF into CR LF.
	"no stty": {"bash", "--norc", "-c", `stty() { return 127; }; export -f stty; exec bash --norc -i`},
}

type execCase struct {
	name string
	argv []string
	out  string
	code int
}

func execCases() []execCase {
	every := make([]byte, 0, 255)
	for c := 1; c < 256; c++ {
		every = append(every, byte(c))
	}
	return []execCase{
		{"plain", []string{"echo", "hello"}, "hello\n", 0},
		{"no output", []string{"true"}, "", 0},
		{"status", []string{"sh", "-c", "exit 42"}, "", 42},
		{"exit itself", []string{"exit", "7"}, "", 7},
		{"signal", []string{"sh", "-c", "kill -TERM $$"}, "Terminated\n", 143},
		{"no final newline", []string{"printf", "abc"}, "abc", 0},
		{"stderr too", []string{"sh", "-c", "echo out; echo err >&2"}, "out\nerr\n", 0},
		{"empty stdin", []string{"cat"}, "", 0},
		{"quoting", []string{"printf", "%s|", "a b", "it's", `"$HOME" \n`, "", "*", "-n", "~", "!!", "line\nbreak\n", "ünïcödé ☃"},
			"a b|it's|\"$HOME\" \\n||*|-n|~|!!|line\nbreak\n|ünïcödé ☃|", 0},
		{"every byte", []string{"printf", "%s", string(every)}, string(every), 0},
		{"control bytes out", []string{"printf", `a\rb\r\nc\033[31mred\000nul\007`}, "a\rb\r\nc\x1b[31mred\x00nul\x07", 0},
		{"near markers", []string{"sh", "-c", `echo "[ 1.2] x"; echo "[    1.234567] not the kernel"; echo ":e0."`},
			"[ 1.2] x\n[    1.234567] not the kernel\n:e0.\n", 0},
		{"long line", []string{"printf", "%s", strings.Repeat("0123456789abcde\n", 256)}, strings.Repeat("0123456789abcde\n", 256), 0},
		{"100 KB", []string{"printf", "%s", strings.Repeat("é'\\ x", 17000)}, strings.Repeat("é'\\ x", 17000), 0},
		{"1 MB out", []string{"sh", "-c", `i=0; while [ $i -lt 1024 ]; do printf '%1024s' $i; i=$((i+1)); done`}, megabyte(), 0},
	}
}

func megabyte() string {
	var b strings.Builder
	for i := range 1024 {
		fmt.Fprintf(&b, "%1024d", i)
	}
	return b.String()
}

func TestExecInShells(t *testing.T) {
	for name, argv := range shells {
		t.Run(name, func(t *testing.T) {
			b := startShell(t, argv...)
			for _, c := range execCases() {
				t.Run(c.name, func(t *testing.T) {
					out, code := b.run(t, ExecOptions{}, c.argv...)
					want := c.out
					if c.name == "signal" { // the shell's own words differ
						out, want = "", ""
					}
					if out != want || code != c.code {
						t.Errorf("got %d bytes %.200q, status %d; want %d bytes %.200q, status %d", len(out), out, code, len(want), want, c.code)
					}
				})
			}
			for cmd, want := range map[string]int{"no-such-command": 127, "/no/such/command": 127, "-x": 127, "/etc/passwd": 126} {
				if out, code := b.run(t, ExecOptions{}, cmd); code != want || out == "" {
					t.Errorf("%s gave %q, %d; want a message and %d", cmd, out, code, want)
				}
			}
		})
	}
}

// stubborn are commands of all manners, which say their process id first.
var stubborn = map[string]string{
	"obedient":         "echo $$; exec sleep 600",
	"ignores INT":      "trap '' INT; echo $$; while :; do sleep 1; done",
	"ignores both":     "trap '' INT QUIT; echo $$; while :; do sleep 1; done",
	"writes on and on": "echo $$; exec yes",
}

func TestExecTimeoutLeavesAUsableConsole(t *testing.T) {
	for name, argv := range shells {
		for what, c := range stubborn {
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				b := startShell(t, argv...)
				out, code := b.run(t, ExecOptions{Timeout: time.Second}, "sh", "-c", c)
				pid, _, whole := strings.Cut(out, "\n")
				if code != TimeoutCode || !whole {
					t.Errorf("got %.40q, %d", out, code)
				}
				if out, code := b.run(t, ExecOptions{}, "echo", "again"); out != "again\n" || code != 0 {
					t.Errorf("afterwards got %q, %d", out, code)
				}
				gone(t, pid)
			})
		}
	}
}

// gone fails unless process pid ends, or is a zombie.
func gone(t *testing.T, pid string) {
	t.Helper()
	var stat []byte
	for range 300 {
		var err error
		if stat, err = os.ReadFile("/proc/" + pid + "/stat"); err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the command still runs: %s", stat)
}

func TestExecCancelled(t *testing.T) {
	b := startShell(t, shells["ash"]...)
	ctx, cancel := context.WithCancel(context.Background())
	var out bytes.Buffer
	began := writerFunc(func(data []byte) (int, error) { cancel(); return out.Write(data) })
	_, err := Exec(ctx, b.dir, []string{"sh", "-c", "echo $$; exec sleep 600"}, ExecOptions{Stdout: began, Alive: b.alive})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if out, _ := b.run(t, ExecOptions{}, "echo", "ok"); out != "ok\n" {
		t.Errorf("afterwards got %q", out)
	}
	pid, _, _ := strings.Cut(out.String(), "\n")
	gone(t, pid)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(data []byte) (int, error) { return f(data) }

func TestExecBrokenStdout(t *testing.T) {
	b := startShell(t, shells["dash"]...)
	broken := writerFunc(func([]byte) (int, error) { return 0, io.ErrClosedPipe })
	_, err := Exec(t.Context(), b.dir, []string{"sh", "-c", "echo x; sleep 600"}, ExecOptions{Stdout: broken, Alive: b.alive})
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
	if out, _ := b.run(t, ExecOptions{}, "echo", "ok"); out != "ok\n" {
		t.Errorf("afterwards got %q", out)
	}
}

func TestExecWhenTheVMDies(t *testing.T) {
	b := startShell(t, shells["ash"]...)
	var out bytes.Buffer
	w := writerFunc(func(data []byte) (int, error) { b.kill(); return out.Write(data) })
	_, err := Exec(t.Context(), b.dir, []string{"sh", "-c", "echo x; sleep 600"}, ExecOptions{Stdout: w, Alive: b.alive})
	if !errors.Is(err, errs.ErrState) || !strings.Contains(err.Error(), "died while the command ran") || out.String() != "x\n" {
		t.Errorf("got %v, %q", err, out.String())
	}
	if _, err := Exec(t.Context(), b.dir, []string{"true"}, ExecOptions{}); !errors.Is(err, errs.ErrState) {
		t.Errorf("on a dead VM got %v", err)
	}
}

func TestExecKilledHalfWay(t *testing.T) {
	for name, argv := range shells {
		t.Run(name, func(t *testing.T) {
			b := startShell(t, argv...)
			b.run(t, ExecOptions{}, "true") // the shell is there
			in, err := openInput(b.dir)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			half := newNonce().bootLine() + "=printf lost\n"
			if err := in.send(t.Context(), []byte(half), time.Time{}); err != nil {
				t.Fatal(err)
			}
			if out, code := b.run(t, ExecOptions{}, "echo", "ok"); out != "ok\n" || code != 0 {
				t.Errorf("got %q, %d", out, code)
			}
		})
	}
}

func TestExecsTakeTurns(t *testing.T) {
	b := startShell(t, shells["bash"]...)
	done := make(chan error)
	for i := range 4 {
		go func() {
			var out bytes.Buffer
			code, err := Exec(t.Context(), b.dir, []string{"echo", fmt.Sprint(i)}, ExecOptions{Stdout: &out, Alive: b.alive})
			if err == nil && (code != 0 || out.String() != fmt.Sprintln(i)) {
				err = fmt.Errorf("exec %d gave %q, %d", i, out.String(), code)
			}
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestExecWithoutAShell(t *testing.T) {
	for what, script := range map[string]string{
		"silent": "stty -echo; exec cat >/dev/null",
		"flood":  "exec yes flood",
		"deaf":   "exec sleep 600",
	} {
		t.Run(what, func(t *testing.T) {
			b := startShell(t, "sh", "-c", script)
			_, err := Exec(t.Context(), b.dir, []string{"true"}, ExecOptions{WaitBoot: 3 * time.Second, Alive: b.alive})
			if !errors.Is(err, errs.ErrTimeout) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestExecLogin(t *testing.T) {
	for what, c := range map[string]struct {
		script string
		want   error
	}{
		"root without password": {`printf 'noid login: '; read n; [ "$n" = root ] && exec sh -i`, nil},
		"password":              {`while :; do printf 'noid login: '; read n; printf 'Password: '; read p; done`, errs.ErrState},
	} {
		t.Run(what, func(t *testing.T) {
			b := startShell(t, "sh", "-c", c.script)
			waitForLog(t, b.dir, "login: ")
			_, err := Exec(t.Context(), b.dir, []string{"true"}, ExecOptions{WaitBoot: 20 * time.Second, Alive: b.alive})
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func waitForLog(t *testing.T, dir, text string) {
	t.Helper()
	for range 3000 {
		data, _ := os.ReadFile(logPath(dir))
		if strings.Contains(string(data), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%q never came", text)
}
