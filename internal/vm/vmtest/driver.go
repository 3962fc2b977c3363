// Package vmtest has a fake driver for tests of package vm. It boots no guest: its VMM is a process that sleeps, and
// the guest's memory is a file that a test reads and writes. It notes each call, fails those that a test names, and
// keeps vmm.Driver's contract otherwise.
package vmtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"noid/internal/proc"
	"noid/internal/vmm"
)

// Name is the fake driver's.
const Name = "fake"

// Files of the fake VMM in its VM's directory.
const (
	memoryFile  = "fake.memory" // the guest's memory, a text
	stateFile   = "fake.state"  // vmm.Running or vmm.Paused
	logFile     = "fake.log"
	scratchFile = "fake.scratch" // what WriteBack leaves for Snapshot
)

// JobsSocket is the socket in a VM's directory on which Driver.Program serves.
const JobsSocket = "fake.jobs"

// Files that a test makes in a VM's directory.
const (
	// EndingFile says how the guest ended: "reboot", "panic" or "poweroff".
	EndingFile = "fake.ended"
	// WaitsFile says why the VMM has paused the guest.
	WaitsFile = "fake.waits"
)

// Driver is the fake. Its zero value works.
type Driver struct {
	// Program is the command that stands for a VMM; by default one that sleeps. It runs in the VM's directory and is an
	// agent.Server on JobsSocket: the guest's commands run there, on this machine. All else stays faked.
	Program []string
	NoNet   error // why no VM with a network starts, if so
	// MemoryFile is the trait.
	MemoryFile bool
	// Called, if set, is told of each call before it does anything.
	Called func(name string)

	mu    sync.Mutex
	calls []string
	fail  map[int]error // by the call's place in calls
}

// ErrInjected is what a call fails with that FailAt names.
var ErrInjected = errors.New("injected failure")

// Calls returns the calls since the last Reset that change something or reach the guest: "start", "pause", "agent
// freeze".
func (d *Driver) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// Reset forgets the calls, and has those at the places failAt, counted from 0, fail from now on.
func (d *Driver) Reset(failAt ...int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls, d.fail = nil, map[int]error{}
	for _, at := range failAt {
		d.fail[at] = fmt.Errorf("call %d: %w", at, ErrInjected)
	}
}

// call notes a call and returns what it is to fail with.
func (d *Driver) call(name string) error {
	if d.Called != nil {
		d.Called(name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, name)
	return d.fail[len(d.calls)-1]
}

// Name implements vmm.Driver.
func (d *Driver) Name() string { return Name }

// Traits implements vmm.Driver.
func (d *Driver) Traits() vmm.Traits {
	return vmm.Traits{LoadsWithoutBootFiles: true, MemoryFile: d.MemoryFile}
}

// Version implements vmm.Driver.
func (d *Driver) Version(context.Context) (string, error) { return "1.0", nil }

// Stamp implements vmm.Driver.
func (d *Driver) Stamp() (string, error) { return "fake 1.0", nil }

// UsesHostCPU implements vmm.Driver.
func (d *Driver) UsesHostCPU(vmm.Machine) bool { return false }

// CanLoad implements vmm.Driver.
func (d *Driver) CanLoad(vmm.Machine) error { return d.call("can load") }

// Start implements vmm.Driver.
func (d *Driver) Start(_ context.Context, dir string, m *vmm.Machine) (proc.Process, error) {
	if err := d.call("start"); err != nil {
		return proc.Process{}, err
	}
	if m.Net && d.NoNet != nil {
		return proc.Process{}, d.NoNet
	}
	m.DriverVersion = "1.0"
	if err := os.WriteFile(filepath.Join(dir, vmm.SerialLogFile), []byte("fake guest: booted\n"), 0o600); err != nil {
		return proc.Process{}, err
	}
	return d.spawn(dir, vmm.Running, []byte("booted"))
}

// Load implements vmm.Driver.
func (d *Driver) Load(_ context.Context, dir string, m *vmm.Machine, _ vmm.Saved) (proc.Process, error) {
	if err := d.call("load"); err != nil {
		return proc.Process{}, err
	}
	if state, err := os.ReadFile(filepath.Join(dir, vmm.StateSnap)); err != nil || string(state) != "state" {
		return proc.Process{}, fmt.Errorf("loading device state %q: %w", state, err)
	}
	memory, err := os.ReadFile(filepath.Join(dir, vmm.MemorySnap))
	if err != nil {
		return proc.Process{}, err
	}
	m.DriverVersion = "1.0"
	return d.spawn(dir, vmm.Paused, memory)
}

// spawn starts a process that stands for a VMM. It works in dir, has the console's FIFO as its input, and outlives this
// process.
func (d *Driver) spawn(dir string, st vmm.State, memory []byte) (proc.Process, error) {
	in, err := os.OpenFile(filepath.Join(dir, vmm.SerialInFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return proc.Process{}, err
	}
	defer in.Close()
	out, err := vmm.OpenLog(dir)
	if err != nil {
		return proc.Process{}, err
	}
	defer out.Close()
	for name, data := range map[string][]byte{memoryFile: memory, stateFile: []byte(st), logFile: []byte("fake vmm: started\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return proc.Process{}, err
		}
	}
	program := d.Program
	if len(program) == 0 {
		program = []string{"sleep", "1000"}
	}
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.SysProcAttr = dir, in, out, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return proc.Process{}, err
	}
	go cmd.Wait()
	return proc.Identify(cmd.Process.Pid)
}

// Tell implements vmm.Driver.
func (d *Driver) Tell(_ context.Context, dir string, c vmm.Command) error {
	name := map[vmm.Command]string{vmm.Pause: "pause", vmm.Resume: "resume", vmm.ResumeSaved: "resume", vmm.Shutdown: "shut down", vmm.Wake: "wake"}[c]
	if err := d.call(name); err != nil {
		return err
	}
	if c == vmm.Wake { // it does not sleep
		return nil
	}
	st := map[vmm.Command]vmm.State{vmm.Pause: vmm.Paused, vmm.Resume: vmm.Running, vmm.ResumeSaved: vmm.Running}[c]
	if st == "" {
		return errors.New("the fake guest has no power button")
	}
	return os.WriteFile(filepath.Join(dir, stateFile), []byte(st), 0o600)
}

// GrowDisk implements vmm.Driver.
func (d *Driver) GrowDisk(_ context.Context, dir string, length int64) error {
	if err := d.call("grow disk"); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(dir, vmm.RootfsFile))
	if err == nil && info.Size() != length {
		err = fmt.Errorf("the disk has %d bytes, not %d", info.Size(), length)
	}
	return err
}

// LetRun implements vmm.Driver.
func (d *Driver) LetRun(ctx context.Context, dir string) (ran bool, err error) {
	if st, err := d.State(ctx, dir); err != nil || st == vmm.Running {
		return err == nil, err
	}
	return false, d.Tell(ctx, dir, vmm.Resume)
}

// State implements vmm.Driver.
func (d *Driver) State(_ context.Context, dir string) (vmm.State, error) {
	st, err := os.ReadFile(filepath.Join(dir, stateFile))
	return vmm.State(st), err
}

// WhyPaused implements vmm.Driver.
func (d *Driver) WhyPaused(dir string) string {
	why, _ := os.ReadFile(filepath.Join(dir, WaitsFile))
	return string(why)
}

// Ended implements vmm.Driver.
func (d *Driver) Ended(dir string) vmm.Ending {
	how, _ := os.ReadFile(filepath.Join(dir, EndingFile))
	return map[string]vmm.Ending{"reboot": vmm.EndedReboot, "panic": vmm.EndedPanic, "poweroff": vmm.EndedPoweroff}[string(how)]
}

// Connect implements vmm.Driver.
func (d *Driver) Connect(_ context.Context, dir string) (net.Conn, error) {
	here, err := os.Open(dir) // by this name another VM may go soon
	if err != nil {
		return nil, err
	}
	host, guest := net.Pipe()
	go func() {
		defer here.Close()
		fakeAgent{called: d.call, dir: fmt.Sprintf("/proc/self/fd/%d", here.Fd()), jobs: len(d.Program) > 0}.serve(guest)
	}()
	return host, nil
}

// WriteBack implements vmm.Driver.
func (d *Driver) WriteBack(_ context.Context, dir string, _ bool) error {
	if err := d.call("write back"); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, scratchFile), nil, 0o600)
}

// MemorySource implements vmm.Driver.
func (d *Driver) MemorySource(dir string) string { return filepath.Join(dir, memoryFile) }

// Snapshot implements vmm.Driver.
func (d *Driver) Snapshot(ctx context.Context, dir, dst string, withMemory bool) error {
	if err := d.call("snapshot"); err != nil {
		return err
	}
	if st, err := d.State(ctx, dir); err != nil || st != vmm.Paused {
		return fmt.Errorf("a snapshot of a guest that is %s: %w", st, err)
	}
	memory, err := os.ReadFile(filepath.Join(dir, memoryFile))
	if err != nil {
		return err
	}
	os.Remove(filepath.Join(dir, scratchFile))
	if !withMemory {
		return os.WriteFile(filepath.Join(dst, vmm.StateSnap), []byte("state"), 0o600)
	}
	return errors.Join(os.WriteFile(filepath.Join(dst, vmm.MemorySnap), memory, 0o600), os.WriteFile(filepath.Join(dst, vmm.StateSnap), []byte("state"), 0o600))
}

// Logs implements vmm.Driver.
func (d *Driver) Logs() []string { return []string{logFile} }

// Scratch implements vmm.Driver.
func (d *Driver) Scratch() []string { return []string{scratchFile} }

// Assist implements vmm.Driver.
func (d *Driver) Assist(context.Context, func(context.Context) error) error { return nil }

// Memory returns what is in the memory of the guest whose VM's directory is dir.
func Memory(dir string) string {
	data, _ := os.ReadFile(filepath.Join(dir, memoryFile))
	return string(data)
}

// SetMemory is a guest's program that writes to its memory.
func SetMemory(dir, text string) error {
	return os.WriteFile(filepath.Join(dir, memoryFile), []byte(text), 0o600)
}
