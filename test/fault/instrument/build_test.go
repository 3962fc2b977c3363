package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var binDir string // of faultNoid

func TestMain(m *testing.M) {
	code := 1
	defer func() { os.Exit(code) }()
	dir, err := os.MkdirTemp("", "noid-instrument-")
	if err != nil {
		return
	}
	defer os.RemoveAll(dir)
	binDir = dir
	code = m.Run()
}

// faultNoid builds the fault-injection build as 'make fault-build' does.
var faultNoid = sync.OnceValues(func() (string, error) {
	if err := instrument(binDir); err != nil {
		return "", err
	}
	bin := filepath.Join(binDir, "noid-fault")
	cmd := exec.Command("go", "build", "-trimpath", "-overlay", filepath.Join(binDir, overlayFile), "-o", bin, target)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return bin, nil
})

// world is a home, and the files of the faults.
type world struct {
	t                         *testing.T
	bin, home, trace, fired   string
	copyOfConfig, commandText string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	bin, err := faultNoid()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w := &world{t: t, bin: bin, home: filepath.Join(dir, "home"), trace: filepath.Join(dir, "trace"), fired: filepath.Join(dir, "fired"), copyOfConfig: filepath.Join(dir, "copy")}
	w.commandText = "cp " + filepath.Join(w.home, "config.toml") + " " + w.copyOfConfig
	return w
}

// noid runs the build with an order, or none, and returns how it ended.
func (w *world) noid(order string, args ...string) (state *os.ProcessState, stdout, stderr string) {
	w.t.Helper()
	var out, errb strings.Builder
	cmd := exec.Command(w.bin, args...)
	cmd.Env = append(os.Environ(), "NOID_HOME="+w.home, "NOID_FAULT_TRACE="+w.trace, "NOID_FAULT_FIRED="+w.fired, "NOID_FAULT="+order, "NOID_FAULT_CMD="+w.commandText)
	cmd.Stdout, cmd.Stderr = &out, &errb
	if err := cmd.Run(); cmd.ProcessState == nil {
		w.t.Fatal(err)
	}
	return cmd.ProcessState, out.String(), errb.String()
}

// mem returns what config.toml says now.
func (w *world) mem() string {
	w.t.Helper()
	_, stdout, _ := w.noid("", "config", "get", "mem")
	return strings.TrimSpace(stdout)
}

// steps returns the trace's lines, split, and begins a new one.
func (w *world) steps() (lines [][]string) {
	w.t.Helper()
	data, err := os.ReadFile(w.trace)
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		lines = append(lines, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	if err := os.Remove(w.trace); err != nil {
		w.t.Fatal(err)
	}
	return lines
}

func TestTrace(t *testing.T) {
	w := newWorld(t)
	if state, stdout, stderr := w.noid("", "version"); !state.Success() || !strings.HasPrefix(stdout, "noid ") {
		t.Fatalf("version: %v %q %q", state, stdout, stderr)
	}
	want := []string{"version", "Writer.Write", "1", "error"} // of cli/output.go, through which all output goes
	var got []string
	for _, line := range w.steps() {
		got = []string{line[0], line[1][strings.LastIndex(line[1], " ")+1:], line[2], line[3]}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if state, _, stderr := w.noid("", "config", "set", "mem", "64"); !state.Success() {
		t.Fatal(state, stderr)
	}
	count := map[string]string{} // of the site's callee, the last one
	for _, line := range w.steps() {
		if len(line) != 4 || line[0] != "config" || line[3] != "error" {
			t.Errorf("a step of 'config set' is %q", line)
			continue
		}
		_, callee, _ := strings.Cut(line[1], " ")
		count[callee] = line[2]
	}
	for _, callee := range []string{"os.MkdirAll", "os.CreateTemp", "File.Write", "File.Sync", "os.Rename"} {
		if count[callee] == "" {
			t.Errorf("%s is no step of 'config set': %v", callee, count)
		}
	}
	if w.mem(); len(w.steps()) == 0 {
		t.Error("'config get' has no steps, though it prints")
	}
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name, action  string
		code          int            // -1 when by a signal
		signal        syscall.Signal // 0 for none
		stderr        string
		mem, memInRun string // afterwards, and when NOID_FAULT_CMD ran
		fired         bool
		verb          string // of the order; "" for config
	}{
		{name: "kill", action: "kill", code: -1, signal: syscall.SIGKILL, mem: "64", fired: true},
		{name: "killafter", action: "killafter", code: -1, signal: syscall.SIGKILL, mem: "65", fired: true},
		{name: "full disk", action: "error:ENOSPC", code: 7, stderr: "no space left on device", mem: "64", fired: true},
		{name: "I/O error", action: "error:EIO", code: 1, stderr: "input/output error", mem: "64", fired: true},
		{name: "run", action: "run", mem: "65", memInRun: "64", fired: true},
		{name: "runafter", action: "runafter", mem: "65", memInRun: "65", fired: true},
		{name: "another verb's", action: "kill", verb: "list", mem: "65"},
		{name: "unknown action", action: "explode", code: 2, stderr: "no such action", mem: "64"},
		{name: "unknown errno", action: "error:ENOTHING", code: 2, stderr: "no such errno", mem: "64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			if state, _, stderr := w.noid("", "config", "set", "mem", "64"); !state.Success() {
				t.Fatal(state, stderr)
			}
			w.steps()
			if state, _, stderr := w.noid("", "config", "set", "mem", "64"); !state.Success() {
				t.Fatal(state, stderr)
			}
			steps := w.steps()
			rename := slices.IndexFunc(steps, func(line []string) bool { return strings.HasSuffix(line[1], " os.Rename") })
			if rename < 0 {
				t.Fatalf("nothing is renamed in %q", steps)
			}
			step := steps[rename]
			verb := step[0]
			if test.verb != "" {
				verb = test.verb
			}
			state, _, stderr := w.noid(strings.Join([]string{test.action, verb, step[2], step[1]}, " "), "config", "set", "mem", "65")
			status := state.Sys().(syscall.WaitStatus)
			if state.ExitCode() != test.code || test.code == -1 && status.Signal() != test.signal {
				t.Errorf("%v, want code %d, signal %d: %s", state, test.code, test.signal, stderr)
			}
			if !strings.Contains(stderr, test.stderr) {
				t.Errorf("stderr %q, want %q in it", stderr, test.stderr)
			}
			if mem := w.mem(); mem != test.mem {
				t.Errorf("mem is %s, want %s", mem, test.mem)
			}
			if _, err := os.Lstat(w.fired); err == nil != test.fired {
				t.Errorf("fired: %v, want %v", err, test.fired)
			}
			data, err := os.ReadFile(w.copyOfConfig)
			if test.memInRun == "" && err == nil {
				t.Error("NOID_FAULT_CMD ran")
			}
			if test.memInRun != "" && !strings.Contains(string(data), "mem = "+test.memInRun) {
				t.Errorf("when NOID_FAULT_CMD ran, the file was %q, %v, want %s in it", data, err, test.memInRun)
			}
		})
	}
}

// The second process with the ordered verb must not meet the fault of the first.
func TestOnce(t *testing.T) {
	w := newWorld(t)
	w.noid("", "config", "set", "mem", "64")
	var order string
	for _, line := range w.steps() {
		order = strings.Join([]string{"kill", line[0], "1", line[1]}, " ")
	}
	if state, _, _ := w.noid(order, "config", "set", "mem", "65"); state.ExitCode() != -1 {
		t.Errorf("%s: %v, want it killed", order, state)
	}
	if state, _, stderr := w.noid(order, "config", "set", "mem", "66"); !state.Success() {
		t.Errorf("%s, once more: %v: %s", order, state, stderr)
	}
	if mem := w.mem(); mem != "66" {
		t.Errorf("mem is %s, want 66", mem)
	}
}

// The ordinary noid has nothing of all this.
func TestNotLinked(t *testing.T) {
	packages, err := list(target)
	if err != nil {
		t.Fatal(err)
	}
	if exports := exportsOf(packages); exports[target] == "" || exports[runtimePath] != "" {
		t.Errorf("of what %s links, %s is at %q, and itself at %q", target, runtimePath, exports[runtimePath], exports[target])
	}
}
