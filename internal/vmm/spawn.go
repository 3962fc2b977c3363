package vmm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"noid/internal/confine"
	"noid/internal/proc"
)

// Child is a VMM that this noid has just started. It outlives noid: its own session, no terminal, no inherited
// descriptors.
type Child struct {
	proc.Process
	exited chan struct{}
	err    error // set before exited is closed
}

// Spawn starts argv in dir with the console files of dir as its stdin and stdout, and logPath (relative to dir, created
// anew) as its stderr. A link or a FIFO that a guest left in the logs' places is refused, and not waited for. The VMM is
// confined, for a guest of m: of dir it writes the disk, logFile and the files that access names, and reads kernel, initrd and
// what its binary needs.
func Spawn(dir string, argv []string, logFile string, m *Machine, access Access) (*Child, error) {
	in, err := os.OpenFile(filepath.Join(dir, SerialInFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the console's input: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(dir, SerialLogFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the console's log: %w", err)
	}
	defer out.Close()
	log, err := os.OpenFile(filepath.Join(dir, logFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the VMM's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, in, out, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := confine.Start(cmd, policy(dir, m, logFile, access)); err != nil {
		return nil, err
	}
	child := &Child{exited: make(chan struct{})}
	child.Process, err = proc.Identify(cmd.Process.Pid) // it cannot have been reaped yet, so the pid is its own
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, err
	}
	go func() {
		child.err = cmd.Wait()
		confine.Leave(child.PID)
		close(child.exited)
	}()
	return child, nil
}

// growth is what the longest file of a VM may exceed its memory or its disk by: logs, device state, headers.
const growth = 256 << 20

// Access is what a VMM may use beside what all VMMs may.
type Access struct {
	Devices []string // device files
	Write   []string // files in the VM's directory
	Make    string   // a directory in it where it may make files
}

// policy is what the VMM in dir may do. vm.json is none of its: a guest that took it over could have noid believe anything.
func policy(dir string, m *Machine, logFile string, access Access) confine.Policy {
	p := confine.Policy{Dir: dir, Write: append([]string{RootfsFile, logFile}, access.Write...), Make: access.Make, Devices: access.Devices,
		Limits: confine.Limits{CPUs: m.CPUs, MemBytes: int64(m.MemMiB) << 20}}
	for _, path := range []string{m.KernelPath, m.InitrdPath} {
		if path != "" {
			p.Read = append(p.Read, path)
		}
	}
	if info, err := os.Lstat(filepath.Join(dir, RootfsFile)); err == nil {
		p.Limits.FileBytes = max(info.Size(), p.Limits.MemBytes) + growth
	}
	return p
}

// Exited is closed when the process has ended.
func (c *Child) Exited() <-chan struct{} { return c.exited }

// ExitError describes how the process ended; call it after Exited is closed.
func (c *Child) ExitError() error {
	if c.err != nil {
		return c.err
	}
	return errors.New("exit status 0")
}

// Abort kills the process and reaps it.
func (c *Child) Abort() {
	unix.Kill(c.PID, unix.SIGKILL)
	<-c.exited
}

// FindIn returns the VMMs that run in dir, whatever is recorded of them: from its first instruction on each has the console's
// FIFO as its standard input.
func FindIn(dir string) []proc.Process { return proc.FindIn(dir, SerialInFile) }
