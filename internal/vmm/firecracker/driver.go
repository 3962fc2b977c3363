// Package firecracker drives Firecracker 1.12 and later over the API socket in the VM's directory. Firecracker runs with
// that directory as its working directory and is told relative names only: a snapshot records the disk's and the vsock's
// path verbatim, so a clone in another directory opens its own.
//
// Guest memory is private to the process, and after Load a private mapping of memory.snap: that file is never written.
package firecracker

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// Names of the files that belong to this driver alone, in the VM's directory.
const (
	SocketFile = "firecracker.sock" // the API
	LogFile    = "firecracker.log"  // Firecracker's log and stderr
	VsockFile  = "v.sock"           // host side of the guest's vsock (CONNECT protocol)

	// serialStartFile holds the length, in decimal, that serial.log had when this run began: what stands before it, the
	// "System halted" of the run before say, tells nothing about this one.
	serialStartFile = "firecracker.serial"
)

// Driver implements vmm.Driver and vmm.Snapshotter with one Firecracker binary.
type Driver struct{ binary string }

var (
	_ vmm.Driver      = (*Driver)(nil)
	_ vmm.Snapshotter = (*Driver)(nil)
	_ vmm.Connector   = (*Driver)(nil)
)

// New returns a driver that runs binary, or with "" the firecracker of PATH, then /usr/local/bin.
func New(binary string) *Driver { return &Driver{binary: binary} }

// Name returns "firecracker".
func (d *Driver) Name() string { return "firecracker" }

// askTimeout bounds --version, which takes 5 ms.
const askTimeout = 10 * time.Second

// Version asks the binary, such as "1.16.1".
func (d *Driver) Version(ctx context.Context) (string, error) {
	binary, err := d.find()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "--version")
	cmd.WaitDelay = time.Second // a child of a wrapper script may hold the pipe
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return "", fmt.Errorf("asking %s for its version: %w", binary, ctx.Err())
	}
	if err != nil {
		return "", cannotStart(fmt.Errorf("%s --version: %w", binary, err))
	}
	v, ok := parseVersion(string(out))
	if !ok {
		return "", cannotStart(fmt.Errorf("%s --version answered %q", binary, untrusted.End(out, 100)))
	}
	return v.text, v.check()
}

// Stamp implements vmm.Driver.
func (d *Driver) Stamp() (string, error) {
	binary, err := d.find()
	if err != nil {
		return "", err
	}
	return vmm.StampOf(binary)
}

// find returns the absolute path of the binary: Firecracker starts in another working directory.
func (d *Driver) find() (string, error) {
	names := []string{d.binary}
	if d.binary == "" {
		names = []string{"firecracker", "/usr/local/bin/firecracker"}
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
	return "", cannotStart(fmt.Errorf("%s: %w", names[0], firstErr))
}

// cannotStart is the error of a host without a usable binary.
func cannotStart(err error) error {
	return errs.WithHint(fmt.Errorf("cannot start firecracker: %w run it: %w", errs.ErrHost, err),
		"install Firecracker 1.12 or later, or name its binary with: noid config set firecracker PATH")
}
