// Package vmm says what a VMM driver is. A driver turns a Machine and a directory into a running process and drives that
// process through the socket in the directory; it keeps no state of its own, so any noid process can drive any VM.
//
// Packages qemu and firecracker implement Driver and Snapshotter; package conformance is the suite that both must pass.
package vmm

import (
	"context"
	"fmt"
	"net"
	"os"

	"noid/internal/proc"
)

// Names of the files that a driver finds or makes in a VM's directory. The VMM runs with that directory as its working
// directory and knows only these relative names, since a snapshot records paths verbatim.
const (
	RootfsFile    = "rootfs.ext4"  // the VM's own disk, made before Start and Load
	SerialInFile  = "serial.in"    // FIFO; the VMM's stdin is an O_RDWR descriptor of it, so it never sees end of file
	SerialLogFile = "serial.log"   // what the guest wrote to its console; the VMM's stdout, O_APPEND
	MemoryFile    = "memory"       // guest memory where the driver keeps it as a file, to be cloned by a snapshot; else there is none
	MemorySnap    = "memory.snap"  // guest memory as a snapshot keeps it, MemMiB long
	StateSnap     = "vmstate.snap" // CPU and device state in the VMM's own format

	// What a VMM writes of a snapshot, when it must do so itself, until that is moved: it may make files nowhere but in its
	// own directory's NewSnapDir. A killed command leaves them.
	NewSnapDir    = "new"
	NewMemorySnap = NewSnapDir + "/" + MemorySnap
	NewStateSnap  = NewSnapDir + "/" + StateSnap
)

// Machine is the hardware and boot configuration of a VM. It is recorded in vm.json and in each checkpoint: the same
// Machine over the same files is the same VM.
type Machine struct {
	Driver        string `json:"driver"`
	DriverVersion string `json:"driver_version,omitempty"` // filled in by Start and Load, such as "7.2.22" or "1.16.1"
	CPUs          int    `json:"cpus"`
	MemMiB        int    `json:"mem_mib"`
	KernelPath    string `json:"kernel"`              // absolute, in a format that the driver boots
	InitrdPath    string `json:"initrd,omitempty"`    // absolute; empty for none
	BootArgs      string `json:"boot_args,omitempty"` // appended to the driver's own kernel command line
	// Agent says that noid's agent is in the initramfs.
	Agent bool `json:"agent,omitempty"`
	// Hardware pins what the driver chose at Start (QEMU's versioned machine type, accelerator, CPU model), so that Load
	// builds the same. Start fills it in; Load obeys it.
	Hardware map[string]string `json:"hardware,omitempty"`
}

// State is what a VMM says of its guest.
type State string

// The states that a live VMM can report.
const (
	Running State = "running"
	Paused  State = "paused"
)

// Command is something to tell a live VMM.
type Command int

// The commands. Pause and Resume may be repeated: pausing a paused VM is no error. Shutdown asks the guest to power off
// (ACPI power button or Ctrl+Alt+Del) and does not wait for it to obey.
const (
	Pause Command = iota
	Resume
	Shutdown
)

// StampOf is a binary's part of a Stamp.
func StampOf(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d %d", path, info.Size(), info.ModTime().UnixNano()), nil
}

// Ending is how a guest ended, told from what its VMM left behind.
type Ending int

// The endings. EndedUnknown covers a killed VMM and a crash of the VMM itself.
const (
	EndedUnknown Ending = iota
	EndedPoweroff
	EndedReboot
	EndedPanic
)

// Driver drives one kind of VMM. dir is always the VM's directory as an absolute path. No method keeps anything open
// after it returns. Every method honours ctx.
type Driver interface {
	// Name is the word that --driver takes.
	Name() string
	// Version asks the VMM's binary for its version. The error wraps errs.ErrHost when there is no usable binary.
	Version(ctx context.Context) (string, error)
	// Stamp says which VMM a guest would be booted by: its binary's path, length and time of modification, and the accelerator.
	// Another stamp may be another machine. The error is Version's.
	Stamp() (string, error)
	// Start boots m in dir and returns once the guest's first instruction may run. dir holds rootfs.ext4, an existing
	// serial.in and nothing else of ours that matters: a stale socket is removed. On error no process is left.
	// It fills in m.DriverVersion and m.Hardware.
	Start(ctx context.Context, dir string, m *Machine) (proc.Process, error)
	// Tell carries out c on the live VMM in dir.
	Tell(ctx context.Context, dir string, c Command) error
	// State asks the live VMM in dir whether its guest runs. It answers within a second or fails.
	State(ctx context.Context, dir string) (State, error)
	// Ended says how the guest of the VMM that ran in dir ended. It reads files only, bounded. While the process is
	// alive it may still answer EndedPoweroff: Firecracker does not exit when its guest halts.
	Ended(dir string) Ending
}

// Snapshotter is a Driver that can save and load a guest's memory and devices.
type Snapshotter interface {
	// WriteBack does, while the guest runs, whatever makes the coming Snapshot short: fsync of disk and memory files, a clone of
	// what is known of memory.
	WriteBack(ctx context.Context, dir string) error
	// MemorySource returns the file of which the coming Snapshot's memory will be a clone, but for what was written since. It
	// is empty when there is none, and all memory will be written.
	MemorySource(dir string) string
	// Snapshot writes the paused guest of dir to dst/memory.snap and dst/vmstate.snap, neither of which exists. It leaves
	// the VM paused and able to resume whether it fails or not. The caller fsyncs dst.
	Snapshot(ctx context.Context, dir, dst string) error
	// Load starts a VMM in dir from dir/memory.snap and dir/vmstate.snap (read-only, perhaps shared with a checkpoint
	// by hard link: never written) and dir/rootfs.ext4, and leaves the guest paused. On error no process is left.
	// booted says that the saved guest has left its firmware behind: it has its kernel and initramfs in memory.
	Load(ctx context.Context, dir string, m *Machine, booted bool) (proc.Process, error)
}

// Connector is a Driver whose guests can run noid's agent.
type Connector interface {
	// Connect returns a fresh connection to the agent of the live VM in dir, to be used as package wire says. One try ends
	// within a few seconds or with ctx. An error means that nobody answers yet or no longer: while the VMM lives, trying
	// again is right, whatever the error says. That it returned a connection does not mean that the agent has taken it.
	// Connections die at a snapshot, of the source too, and when whatever carries them on the host is replaced: a read
	// then fails or ends early, never with wrong bytes. The caller closes what it gets.
	Connect(ctx context.Context, dir string) (net.Conn, error)
}
