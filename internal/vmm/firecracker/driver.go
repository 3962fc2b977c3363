// Package firecracker drives Firecracker 1.12 and later over the API socket in the VM's directory. Firecracker runs
// with that directory as its working directory and is told relative names only: a snapshot records the disk's and the
// vsock's path verbatim, so a clone in another directory opens its own.
//
// Guest memory is private to the process, and after Load a private mapping of memory.snap: that file is never written.
package firecracker

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// Names of the files that belong to this driver alone, in the VM's directory.
const (
	SocketFile = "firecracker.sock" // the API
	LogFile    = "firecracker.log"  // Firecracker's log and stderr
	VsockFile  = "v.sock"           // host side of the guest's vsock (CONNECT protocol)

	// newSnapDir is where Firecracker writes a snapshot until that is moved: the only directory in which it may make
	// files.
	newSnapDir    = "new"
	newMemorySnap = newSnapDir + "/" + vmm.MemorySnap
	newStateSnap  = newSnapDir + "/" + vmm.StateSnap
)

// Driver implements vmm.Driver with one Firecracker binary.
type Driver struct{ binary vmm.Binary }

var _ vmm.Driver = (*Driver)(nil)

const install = "install Firecracker 1.12 or later"

// New returns a driver that runs binary, or with "" the firecracker of PATH, then /usr/local/bin.
func New(binary string) *Driver {
	return &Driver{vmm.Binary{Driver: "firecracker", Path: binary, Name: "firecracker", Install: install}}
}

// Name returns "firecracker".
func (d *Driver) Name() string { return d.binary.Driver }

// Traits implements vmm.Driver. Firecracker has no firmware: a loaded guest has its kernel in memory.
func (d *Driver) Traits() vmm.Traits { return vmm.Traits{ELFOnly: true, LoadsWithoutBootFiles: true} }

// Version asks the binary, such as "1.16.1".
func (d *Driver) Version(ctx context.Context) (string, error) {
	out, err := d.binary.Ask(ctx, "--version")
	if err != nil {
		return "", err
	}
	v, ok := parseVersion(out)
	if !ok {
		return "", d.binary.Unusable(fmt.Errorf("--version answered %q", untrusted.End([]byte(out), 100)))
	}
	return v.text, v.check()
}

// Stamp implements vmm.Driver.
func (d *Driver) Stamp() (string, error) { return d.binary.Stamp() }

// UsesHostCPU implements vmm.Driver. Firecracker has KVM alone.
func (d *Driver) UsesHostCPU(vmm.Machine) bool { return true }

// CanLoad implements vmm.Driver.
func (d *Driver) CanLoad(vmm.Machine) error {
	if err := kvmUsable(vmm.KVMDevice); err != nil {
		return vmm.NoKVMToLoad(err)
	}
	return nil
}

// kvmVersion is KVM_GET_API_VERSION of linux/kvm.h, which answers 12 since 2007.
const kvmVersion = 0xae00

// kvmUsable says why the device at path is no KVM that can be opened.
func kvmUsable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := unix.IoctlRetInt(int(f.Fd()), kvmVersion); err != nil {
		return fmt.Errorf("%s is no KVM: %w", path, err)
	}
	return nil
}

// Logs implements vmm.Driver.
func (d *Driver) Logs() []string { return []string{LogFile} }

// Scratch implements vmm.Driver.
func (d *Driver) Scratch() []string { return []string{newMemorySnap, newStateSnap} }

// WhyPaused implements vmm.Driver: neither Firecracker nor this driver pauses a guest.
func (d *Driver) WhyPaused(string) string { return "" }

// Assist implements vmm.Driver. There is nothing to do: Firecracker serves the agent's connections itself.
func (d *Driver) Assist(context.Context, func(context.Context) error) error { return nil }
