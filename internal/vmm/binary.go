package vmm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"noid/internal/errs"
	"noid/internal/untrusted"
)

// askTimeout bounds a question to a VMM's program, which takes 5 to 100 ms.
const askTimeout = 30 * time.Second

// Binary is a VMM's program on this host.
type Binary struct {
	Driver  string // the driver's name, and the key of the configuration that names the program
	Path    string // as configured; "" for Name from PATH, then from /usr/local/bin
	Name    string
	Install string // the cure for a host without it, such as "install QEMU"
}

// Find returns the program's absolute path: a VMM starts in another working directory. The error is Unusable's.
func (b Binary) Find() (string, error) {
	names := []string{b.Path}
	if b.Path == "" {
		names = []string{b.Name, "/usr/local/bin/" + b.Name}
	}
	var firstErr error
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err == nil {
			return filepath.Abs(path)
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	if execErr, ok := errors.AsType[*exec.Error](firstErr); ok {
		firstErr = execErr.Err
	}
	return "", b.Unusable(fmt.Errorf("%s: %w", names[0], firstErr))
}

// Unusable is the error of a host without a usable program, an errs.ErrHost with its cure.
func (b Binary) Unusable(cause error) error {
	return errs.Host("start "+b.Driver, cause).Hint(
		b.Install + ", or name its binary with: noid config set " + b.Driver + " PATH")
}

// Stamp says which program it is: path, length in bytes and time of modification.
func (b Binary) Stamp() (string, error) {
	path, err := b.Find()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d %d", path, info.Size(), info.ModTime().UnixNano()), nil
}

// Ask runs the program with args and returns its output. An error that is not ctx's or a timeout is Unusable's.
func (b Binary) Ask(ctx context.Context, args ...string) (string, error) {
	path, err := b.Find()
	if err != nil {
		return "", err
	}
	what := path + " " + strings.Join(args, " ")
	ctx, cancel := Bounded(ctx, askTimeout, what)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second // a child of a wrapper script may hold the pipe
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return "", fmt.Errorf("asking %s: %w", what, context.Cause(ctx))
	}
	if err != nil {
		if said := untrusted.End([]byte(stderr.String()), 300); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return "", b.Unusable(fmt.Errorf("%s: %w", what, err))
	}
	return string(out), nil
}
