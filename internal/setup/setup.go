// Package setup gets what a host lacks to run VMs: a kernel with its modules, a small root filesystem, QEMU. It works as an
// ordinary user where it can: packages are downloaded and unpacked, not installed. Everything is made in a directory of its
// own and published by a rename, so that an interrupted setup leaves nothing half done, and a repeated one does nothing.
package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// Options says where to put things and whom to tell.
type Options struct {
	KernelsDir string // for kernels with their modules
	ImagesDir  string // for root filesystem images
	// Progress is told what is going on, a line at a time without a newline; nil is told nothing.
	Progress func(string)
}

func (o Options) say(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}

const (
	// workPrefix marks the directories that setup works in.
	workPrefix = ".setup-"
	// lockFile keeps two setups out of each other's way; its holder may delete all that workPrefix marks.
	lockFile = ".setup.lock"
	// stopGrace is how long a tool may take to stop after SIGTERM, when setup is interrupted.
	stopGrace = 3 * time.Second
)

// workDir locks dir, which it makes if need be, removes what killed setups left in it, and makes a directory to work in.
// done removes that again and unlocks. The lock dies with the process. If another setup holds it the error wraps errs.ErrBusy.
func workDir(dir string) (work string, done func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return "", nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("another noid setup works in %q: %w", dir, errs.ErrBusy)
		}
		return "", nil, err
	}
	leftovers, _ := filepath.Glob(filepath.Join(dir, workPrefix+"*"))
	for _, path := range leftovers {
		os.RemoveAll(path)
	}
	work, err = os.MkdirTemp(dir, workPrefix)
	if err != nil {
		lock.Close()
		return "", nil, err
	}
	return work, func() {
		os.RemoveAll(work)
		lock.Close()
	}, nil
}

// Sweep removes what a setup that was killed, or could not remove it, has left.
func Sweep(o Options) {
	for _, dir := range []string{o.KernelsDir, o.ImagesDir} {
		if _, done, err := workDir(dir); err == nil { // its first work
			done()
		}
	}
}

// publish renames from to to, which does not exist, once all of from is on disk.
func publish(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("writing %q to disk: %w", from, err)
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// findTool looks for a program in PATH and where an ordinary user's PATH often does not lead. If there is none the error
// wraps errs.ErrHost and names the package.
func findTool(name, pkg string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", errs.WithHint(fmt.Errorf("%s is not installed: %w", name, errs.ErrHost), "sudo apt-get install "+pkg)
}

// maxOutput bounds what is kept of a tool's output, in bytes.
const maxOutput = 1 << 20

// run runs argv in dir and returns its standard output. A failure's error holds the end of its standard error. A tool
// that ctx interrupts gets SIGTERM, with its children, and a moment to clean up.
func run(ctx context.Context, dir string, argv ...string) (string, error) {
	return runInput(ctx, dir, "", argv...)
}

func runInput(ctx context.Context, dir, input string, argv ...string) (string, error) {
	var stdout, stderr bounded
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(input), &stdout, &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	// A group of its own: Ctrl+C reaches noid alone, which stops the tool in its own way.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = stopGrace
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		text := strings.TrimSpace(stderr.String())
		if text == "" {
			text = strings.TrimSpace(stdout.String())
		}
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(argv[0]), err, lastLines(text, 3))
	}
	return stdout.String(), nil
}

// lastLines puts the last n lines of text into one.
func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// bounded keeps the first maxOutput bytes and swallows the rest. The buffer is not embedded: its ReadFrom would get round
// the bound.
type bounded struct{ kept bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	b.kept.Write(p[:min(len(p), maxOutput-b.kept.Len())])
	return len(p), nil
}

func (b *bounded) String() string { return b.kept.String() }
