package vmm

import (
	"context"
	"net"

	"noid/internal/proc"
)

// Driver drives one kind of VMM. dir is a VM's directory as an absolute path. No method but Assist keeps anything open
// after it returns, and the caller ends a process that Start or Load returned. A method with a ctx blocks, honours ctx,
// and has a limit of its own where a VMM that hangs would hang it. One without returns at once. The caller holds the
// VM's lock, but for LetRun, State, Ended, WhyPaused, Connect and Assist.
type Driver interface {
	// Name is the word that --driver takes.
	Name() string
	// Traits says what a driver of this kind needs and can.
	Traits() Traits
	// Version asks the VMM's program for its version. The error is an errs.ErrHost where there is no usable program.
	Version(ctx context.Context) (string, error)
	// Stamp says which VMM would boot a guest: its program's path, length and time of modification, and the
	// accelerator. Another stamp may be another machine. The error is Version's.
	Stamp() (string, error)

	// UsesHostCPU reports whether the guest of m, which Start has filled in, sees this host's processor. Its snapshots
	// need one like it.
	UsesHostCPU(m Machine) bool
	// CanLoad refuses, with an errs.ErrHost, a machine of which this host can load no snapshot. It starts no process,
	// so it does not see all reasons: Load may still fail.
	CanLoad(m Machine) error

	// Start boots m in dir and returns once the guest's first instruction may run. dir holds rootfs.ext4, serial.in and
	// perhaps the files of an earlier run, which it removes or overwrites. It fills in m.DriverVersion and m.Hardware.
	// On error no process is left, and it may be repeated.
	Start(ctx context.Context, dir string, m *Machine) (proc.Process, error)
	// Load starts a VMM in dir from dir/memory.snap and dir/vmstate.snap and dir/rootfs.ext4, and leaves the guest
	// paused. The two snapshot files may be hard links of a checkpoint's: they are never written. The caller may remove
	// them once the guest is resumed. It fills in m.DriverVersion. On error no process is left, and it may be repeated.
	Load(ctx context.Context, dir string, m *Machine, s Saved) (proc.Process, error)

	// Tell carries out c on the live VMM in dir. It may be repeated: pausing a paused VM is no error.
	Tell(ctx context.Context, dir string, c Command) error
	// GrowDisk has the live VMM in dir notice that dir/rootfs.ext4 is length bytes long by now, longer than before, and
	// tell its guest. It may be repeated.
	GrowDisk(ctx context.Context, dir string, length int64) error
	// LetRun has the guest of the live VMM in dir run if noid has paused it, and reports whether there was nothing to
	// do: it runs, sleeps by itself or waits for space. It is for the helper of a VM whose noid was killed or stands
	// still in the middle of anything, a command to the VMM included, and does not wait for that noid. While the VMM
	// writes a snapshot it fails, or waits for the end.
	LetRun(ctx context.Context, dir string) (ran bool, err error)
	// State asks the live VMM in dir whether its guest runs. It answers within a second or fails.
	State(ctx context.Context, dir string) (State, error)
	// WhyPaused says, in one printable line, for want of what of the host's the driver or the VMM has paused the guest
	// of dir by itself: "" where it has not, and where it can run again. It reads files only, bounded.
	WhyPaused(dir string) string
	// Ended says how the guest of the VMM that ran in dir ended. It reads files only, bounded. While the process lives
	// it may still answer EndedPoweroff: not every VMM exits when its guest halts.
	Ended(dir string) Ending
	// Connect returns a fresh connection to the agent of the live VM in dir, to be used as package wire says. One try
	// ends within a few seconds or with ctx. An error means that nobody answers yet or no longer: while the VMM lives,
	// trying again is right, whatever the error says. A connection does not mean that the agent has accepted it.
	// Connections die at a snapshot, of the source too, and when whatever carries them on the host is replaced: a read
	// then fails or ends early, never with wrong bytes. The caller closes what it gets.
	Connect(ctx context.Context, dir string) (net.Conn, error)

	// WriteBack does, while the guest runs, whatever makes the coming Snapshot short: fsync of disk and, for one with
	// memory, memory files, a clone of what is known of memory. It may be repeated or left out.
	WriteBack(ctx context.Context, dir string, memory bool) error
	// MemorySource returns the file of which the coming Snapshot's memory will be a clone, but for what was written
	// since. It is empty when there is none, and all memory will be written. Once the VMM has ended it may be removed.
	MemorySource(dir string) string
	// Snapshot writes the paused guest of dir to dst/memory.snap and dst/vmstate.snap, neither of which exists. It
	// leaves the VM paused and able to resume whether it fails or not, and no file in dst when it fails. It may be
	// repeated in one pause. The caller fsyncs dst. Without memory there is no dst/memory.snap: MemorySource has it, until
	// the guest is resumed with Traits.MemoryFile, and else until the next WriteBack or Snapshot.
	Snapshot(ctx context.Context, dir, dst string, memory bool) error

	// Logs are the names of the log files that it leaves in a VM's directory, the VMM's own first. Start and Load make
	// them. They grow while the VMM lives: the VM's helper bounds them.
	Logs() []string
	// Scratch are the names of the files that a killed WriteBack, Snapshot or Load may leave in a VM's directory. While
	// the VM's lock is held and none of these runs, they may be removed.
	Scratch() []string
	// Assist is the driver's part of the VM's helper: a process beside the VMM, whose working directory is the VM's
	// whatever that is renamed to. It returns when ctx ends, which is when the VMM has ended, or before if it has
	// nothing to do. It removes its sockets. resume is 'noid resume' for this VM; it fails while another command has
	// the VM.
	Assist(ctx context.Context, resume func(context.Context) error) error
}
