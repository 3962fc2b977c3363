// Package qemu drives QEMU. The VM's memory is a file in its directory that QEMU maps shared, so a snapshot of memory
// is a clone of that file (instant where the file system has reflinks) beside some 100 KB of device state that QEMU
// writes through its migration code.
//
// The driver talks QMP over qemu.sock. A second QMP monitor, which nobody reads, appends QEMU's events to qmp.out: that
// is how the end of a guest is known although no noid process watched it.
package qemu

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"noid/internal/lazy"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// Names of the files that belong to this driver alone, in the VM's directory.
const (
	SocketFile = "qemu.sock" // QMP, one client at a time
	LogFile    = "qemu.log"  // QEMU's stderr
	memoryFile = "memory"    // guest memory, mapped by QEMU; a snapshot clones it

	PortFile   = "agent.port"  // the guest's port for the agent, one client at a time: the VM's helper
	AgentFile  = "agent.sock"  // connections to the agent, served by the helper
	HelperFile = "helper.sock" // tells the helper to hold the port, see serveAgent
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

// Driver implements vmm.Driver with one QEMU binary.
type Driver struct {
	binary vmm.Binary
	kvm    func() bool
	// Helper starts the helper of the VM in dir, which runs Assist. Connect calls it when nobody serves the agent's
	// connections. It need not wait. Nil: Connect fails then.
	Helper func(dir string) error
}

var _ vmm.Driver = (*Driver)(nil)

// New returns a driver that runs binary, or with "" the qemu-system-ARCH of this machine from PATH or /usr/local/bin.
// With kvm, guests run on /dev/kvm; otherwise QEMU emulates (TCG). Whether KVM is any good here is for the caller to
// find out.
//
// kvm is asked when a guest is to be booted, or loaded that ran on KVM.
func New(binary string, kvm func() bool) *Driver {
	return &Driver{kvm: kvm, binary: vmm.Binary{Driver: "qemu", Path: binary, Name: binaryName(runtime.GOARCH),
		Install: "install QEMU (Debian: qemu-system-x86)"}}
}

// binaryName is QEMU's name for the system emulator of a Go architecture.
func binaryName(goarch string) string {
	if goarch == "arm64" {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}

// Name returns "qemu".
func (d *Driver) Name() string { return d.binary.Driver }

// Traits implements vmm.Driver.
func (d *Driver) Traits() vmm.Traits { return vmm.Traits{MemoryFile: true} }

// versionLine is how `qemu-system-* --version` begins, in all versions.
var versionLine = lazy.Regexp(`^QEMU emulator version (\d+(?:\.\d+)+)`)

// Version asks the binary, such as "7.2.22".
func (d *Driver) Version(ctx context.Context) (string, error) {
	out, err := d.binary.Ask(ctx, "--version")
	if err != nil {
		return "", err
	}
	match := versionLine().FindStringSubmatch(out)
	if match == nil {
		return "", d.binary.Unusable(fmt.Errorf("--version answered %q", untrusted.End([]byte(out), 100)))
	}
	return match[1], nil
}

// Stamp implements vmm.Driver.
func (d *Driver) Stamp() (string, error) {
	stamp, err := d.binary.Stamp()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s kvm=%t layout=%s", stamp, d.kvm(), layouts[0]), nil
}

// UsesHostCPU implements vmm.Driver.
func (d *Driver) UsesHostCPU(m vmm.Machine) bool { return m.Hardware[hwAccel] == "kvm" }

// CanLoad implements vmm.Driver.
func (d *Driver) CanLoad(m vmm.Machine) error { return d.checkHardware(m.Hardware) }

// Logs implements vmm.Driver.
func (d *Driver) Logs() []string { return []string{LogFile, eventsOutFile} }

// Scratch implements vmm.Driver.
func (d *Driver) Scratch() []string { return []string{stubKernel, stubInitrd} }

// Assist implements vmm.Driver: it serves the agent's connections and watches the disk's free space.
func (d *Driver) Assist(ctx context.Context, resume func(context.Context) error) error {
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() { watchSpace(ctx, resume) })
	return serveAgent(ctx)
}
