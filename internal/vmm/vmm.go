// Package vmm says what a VMM driver is. A driver turns a Machine and a directory into a running process and drives
// that process through the socket in the directory. It keeps no state of its own: any noid process can drive any VM.
//
// Packages qemu and firecracker implement Driver. Package conformance is the suite that both must pass. Package drivers
// alone names them. What both need stands here: finding and starting a program, waiting, dialling, checking files.
package vmm

// Names of the files that a driver finds or makes in a VM's directory. The VMM runs with that directory as its working
// directory and knows only these relative names, since a snapshot records paths verbatim.
const (
	RootfsFile    = "rootfs.ext4"  // the VM's own disk, made before Start and Load
	BaseFile      = "base.ext4"    // of a Machine with a base: what its own disk lies over, never written; made likewise
	SerialInFile  = "serial.in"    // FIFO; the VMM's stdin is an O_RDWR descriptor of it, so it never sees end of file
	SerialLogFile = "serial.log"   // what the guest wrote to its console; the VMM's stdout, O_APPEND
	MemorySnap    = "memory.snap"  // guest memory as a snapshot keeps it, MemMiB long
	StateSnap     = "vmstate.snap" // CPU and device state in the VMM's own format
)

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
// (ACPI power button or Ctrl+Alt+Del) and does not wait for it to obey. Wake wakes a guest that has put itself to
// sleep; it does nothing to one that is awake, and where the VMM cannot. ResumeSaved is Resume, perhaps a faster one, of
// a guest that Snapshot has saved or Load has loaded in this pause.
const (
	Pause Command = iota
	Resume
	ResumeSaved
	Shutdown
	Wake
)

// Ending is how a guest ended, told from what its VMM left behind.
type Ending int

// The endings. EndedUnknown covers a killed VMM and a crash of the VMM itself.
const (
	EndedUnknown Ending = iota
	EndedPoweroff
	EndedReboot
	EndedPanic
)

// Traits are what is true of all VMs of a driver.
type Traits struct {
	// ELFOnly: it boots an ELF kernel alone. The payload of a bzImage must be extracted.
	ELFOnly bool
	// LoadsWithoutBootFiles: Load reads neither kernel nor initrd.
	LoadsWithoutBootFiles bool
	// MemoryFile: MemorySource is the guest's memory itself, which the VMM has mapped shared.
	MemoryFile bool
}

// Saved is what Load must know of a snapshot beside its files.
type Saved struct {
	// GuestUp: the guest had booted, its agent had answered. Kernel and initramfs were in its memory.
	GuestUp bool
	// OwnMemory: memory.snap is nobody else's. Load may take it for the guest's memory, and write it.
	OwnMemory bool
	// Touched is what the guest will touch of its memory first, as far as that is known: worth reading ahead.
	Touched Touched
}
