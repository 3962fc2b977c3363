// Package qemu drives QEMU. The VM's memory is a file in its directory that QEMU maps shared, so a snapshot of memory is a
// clone of that file (instant where the file system has reflinks) beside some 100 KB of device state that QEMU writes
// through its migration code.
//
// The driver talks QMP over qemu.sock. A second QMP monitor, which nobody reads, appends QEMU's events to qmp.out: that is
// how the end of a guest is known although no noid process watched it.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"noid/internal/errs"
	"noid/internal/lazy"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// Names of the files that belong to this driver alone, in the VM's directory.
const (
	SocketFile = "qemu.sock" // QMP, one client at a time
	LogFile    = "qemu.log"  // QEMU's stderr

	PortFile   = "agent.port"  // the guest's port for the agent, one client at a time: the VM's helper
	AgentFile  = "agent.sock"  // connections to the agent, served by the helper
	HelperFile = "helper.sock" // tells the helper to hold the port, see Hold
	HeldFile   = "agent.held"  // is there while the helper is to hold the port

	// eventsPath is the path of a pipe chardev: QEMU opens it with ".in" and ".out" added, for reading and writing. The
	// first is a FIFO; the second a plain file. (-chardev file has input-path= only in versions younger than 7.2.)
	eventsPath    = "qmp"
	eventsInFile  = eventsPath + ".in"
	eventsOutFile = eventsPath + ".out"

	// lastStateFile is the device state of the newest snapshot. QEMU refuses a second migration of a guest that has not
	// run since the first ("postmigrate"), but then nothing has changed, and this is still the state.
	lastStateFile = "vmstate.last"
)

// Driver implements vmm.Driver and vmm.Snapshotter with one QEMU binary.
type Driver struct {
	binary string
	kvm    func() bool
	// Helper starts the helper of the VM in dir, whose process serves AgentFile. It is called when nobody does, and need
	// not wait. Nil: Connect fails then.
	Helper func(dir string) error
}

var (
	_ vmm.Driver      = (*Driver)(nil)
	_ vmm.Snapshotter = (*Driver)(nil)
	_ vmm.Connector   = (*Driver)(nil)
)

// New returns a driver that runs binary, or with "" the qemu-system-ARCH of this machine from PATH or /usr/local/bin. With
// kvm, guests run on /dev/kvm; otherwise QEMU emulates (TCG). Whether KVM is any good here is for the caller to find out.
//
// kvm is asked when a guest is to be booted, or loaded that ran on KVM.
func New(binary string, kvm func() bool) *Driver { return &Driver{binary: binary, kvm: kvm} }

// Name returns "qemu".
func (d *Driver) Name() string { return "qemu" }

// versionLine is how `qemu-system-* --version` begins, in all versions.
var versionLine = lazy.Regexp(`^QEMU emulator version (\d+(?:\.\d+)+)`)

// Version asks the binary, such as "7.2.22".
func (d *Driver) Version(ctx context.Context) (string, error) {
	out, err := d.ask(ctx, "--version")
	if err != nil {
		return "", err
	}
	match := versionLine().FindStringSubmatch(out)
	if match == nil {
		return "", fmt.Errorf("%w run qemu: --version answered %q", errs.ErrHost, untrusted.End([]byte(out), 100))
	}
	return match[1], nil
}

// Stamp implements vmm.Driver.
func (d *Driver) Stamp() (string, error) {
	binary, err := d.find()
	if err != nil {
		return "", err
	}
	stamp, err := vmm.StampOf(binary)
	return fmt.Sprintf("%s kvm=%t", stamp, d.kvm()), err
}

// ask runs the binary with args and returns its output.
func (d *Driver) ask(ctx context.Context, args ...string) (string, error) {
	binary, err := d.find()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return "", fmt.Errorf("asking %s %s: %w", binary, strings.Join(args, " "), ctx.Err())
	}
	if err != nil {
		return "", fmt.Errorf("%w run %s: %w: %s", errs.ErrHost, binary, err, untrusted.End([]byte(stderr.String()), 300))
	}
	return string(out), nil
}

// find returns the absolute path of the binary: QEMU starts in another working directory.
func (d *Driver) find() (string, error) {
	names := []string{d.binary}
	if d.binary == "" {
		name := binaryName(runtime.GOARCH)
		names = []string{name, "/usr/local/bin/" + name}
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
	var execErr *exec.Error
	if errors.As(firstErr, &execErr) {
		firstErr = execErr.Err
	}
	return "", errs.WithHint(fmt.Errorf("%w run qemu: %s: %w", errs.ErrHost, names[0], firstErr),
		"install QEMU (Debian: qemu-system-x86), or name its binary with: noid config set qemu PATH")
}

// binaryName is QEMU's name for the system emulator of a Go architecture.
func binaryName(goarch string) string {
	if goarch == "arm64" {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}
