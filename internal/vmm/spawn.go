package vmm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/confine"
	"noid/internal/network/space"
	"noid/internal/proc"
)

// Child is a VMM that this noid has just started. It outlives noid: its own session, no terminal, no inherited
// descriptors.
type Child struct {
	proc.Process
	exited chan struct{}
	err    error // set before exited is closed
}

// Spawn starts argv in dir with the console files of dir as its stdin and stdout, and logFile (in dir, emptied) as its
// stderr. A link or a FIFO that a guest left in the logs' places is refused, and not waited for. The VMM is confined,
// for a guest of m: of dir it writes the disk, logFile and the files that access names, and reads kernel, initrd and
// what its binary needs. With m.Net it is in a network namespace, in which it finds space.Tap, or has one of a
// pair of sockets.
func Spawn(dir string, argv []string, logFile string, m *Machine, access Access) (*Child, error) {
	in, err := os.OpenFile(filepath.Join(dir, SerialInFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the console's input: %w", err)
	}
	defer in.Close()
	out, err := OpenLog(dir)
	if err != nil {
		return nil, err
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
	start := confine.Start
	switch {
	case m.NetPair:
		start = space.StartPair
	case m.Net:
		start = space.Start
	}
	if err := start(cmd, policy(dir, m, logFile, access)); err != nil {
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

// policy is what the VMM in dir may do. vm.json is none of its: a guest that took it over could have noid believe
// anything.
func policy(dir string, m *Machine, logFile string, access Access) confine.Policy {
	p := confine.Policy{Dir: dir, Write: append([]string{RootfsFile, logFile}, access.Write...), Make: access.Make, Devices: access.Devices,
		Limits: confine.Limits{CPUs: m.CPUs, MemBytes: int64(m.MemMiB) << 20}}
	if m.Net && !m.NetPair {
		p.Devices = append(p.Devices, space.Device)
	}
	for _, path := range []string{m.KernelPath, m.InitrdPath} {
		if path != "" {
			p.Read = append(p.Read, path)
		}
	}
	if info, err := os.Lstat(filepath.Join(dir, RootfsFile)); err == nil {
		p.Limits.FileBytes = FileLimit(info.Size(), m.MemMiB)
	}
	return p
}

// FileLimit is how long, in bytes, the longest file of a VM may become, whose disk has diskBytes.
func FileLimit(diskBytes int64, memMiB int) int64 { return max(diskBytes, int64(memMiB)<<20) + growth }

// ErrEnded is a VMM that ends before its time. Its log says why.
var ErrEnded = errors.New("the VMM ended early")

// Await calls try until it succeeds. It fails with ErrEnded when the process has ended, and with the cause of ctx's
// end.
func (c *Child) Await(ctx context.Context, try func() error) error {
	for pause := time.Millisecond / 2; ; pause = min(2*pause, 2*time.Millisecond) {
		if try() == nil {
			return nil
		}
		if err := c.Ended(ctx, pause); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// Ended is ErrEnded with the exit status if the process ends within wait and before ctx does, else nil.
func (c *Child) Ended(ctx context.Context, wait time.Duration) error {
	select {
	case <-c.exited:
		if c.err != nil {
			return fmt.Errorf("%w: %w", ErrEnded, c.err)
		}
		return fmt.Errorf("%w: exit status 0", ErrEnded)
	case <-ctx.Done():
	case <-time.After(wait):
	}
	return nil
}

// Abort kills the process and reaps it.
func (c *Child) Abort() {
	unix.Kill(c.PID, unix.SIGKILL)
	<-c.exited
}

// FindIn returns the VMMs of this pid namespace that run in dir, whatever is recorded of them: from its first
// instruction on each has the console's FIFO as its standard input.
func FindIn(dir string) []proc.Process { return proc.FindIn(dir, SerialInFile) }
