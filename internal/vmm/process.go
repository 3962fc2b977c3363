package vmm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/confine"
)

// Process names a VMM process so that a reused pid or a rebooted host is never mistaken for it.
type Process struct {
	PID int `json:"pid"`
	// StartTicks is field 22 of /proc/PID/stat (proc(5)): clock ticks after boot at which the process started.
	StartTicks uint64 `json:"start_ticks"`
	// BootID is /proc/sys/kernel/random/boot_id when it was started.
	BootID string `json:"boot_id"`
}

// Args is p as arguments of a command, for ParseProcess.
func (p Process) Args() []string {
	return []string{strconv.Itoa(p.PID), strconv.FormatUint(p.StartTicks, 10), p.BootID}
}

// ParseProcess is what Args made.
func ParseProcess(args []string) (p Process, err error) {
	if len(args) != 3 {
		return p, fmt.Errorf("%d words do not name a process", len(args))
	}
	if p.PID, err = strconv.Atoi(args[0]); err != nil {
		return p, err
	}
	p.StartTicks, err = strconv.ParseUint(args[1], 10, 64)
	p.BootID = args[2]
	return p, err
}

// Alive reports whether the very process that p names exists and is not a zombie.
func (p Process) Alive() bool {
	if p.PID <= 0 || p.BootID != bootID() || unix.Kill(p.PID, 0) == unix.ESRCH { // which is cheaper to ask than /proc
		return false
	}
	ticks, state, err := readStat(p.PID)
	return err == nil && ticks == p.StartTicks && state != 'Z' && state != 'X'
}

// In reports whether p works in the directory dir, as a VMM does in its VM's, whatever that is called by now. A record that
// says otherwise is damaged, or a guest that took its VMM over has written it.
func (p Process) In(dir string) bool {
	want, err := os.Stat(dir)
	if err != nil {
		return false
	}
	got, err := os.Stat(filepath.Join("/proc", strconv.Itoa(p.PID), "cwd"))
	return err == nil && os.SameFile(want, got)
}

// FindIn returns the processes that work in dir and have its console FIFO as their standard input, as a VM's VMM has from its
// first instruction on: whatever is recorded of them.
func FindIn(dir string) (found []Process) {
	fifo, err := os.Lstat(filepath.Join(dir, SerialInFile))
	// Nothing but a FIFO: a hostile VMM could have put a link to another process's input there.
	if err != nil || fifo.Mode().Type() != os.ModeNamedPipe {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if in, err := os.Stat(filepath.Join("/proc", e.Name(), "fd", "0")); err != nil || !os.SameFile(in, fifo) {
			continue
		}
		if p, err := Identify(pid); err == nil && p.Alive() && p.In(dir) {
			found = append(found, p)
		}
	}
	return found
}

// Kill sends SIGKILL to p, if it is alive, and waits until it is gone. The signal goes through a pidfd, so that it never
// reaches another process that got the same pid meanwhile.
func (p Process) Kill(ctx context.Context) error {
	if !p.Alive() {
		return nil
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	} else if err != nil {
		return fmt.Errorf("opening process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	if !p.Alive() { // the pidfd may name a successor
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing process %d: %w", p.PID, err)
	}
	if err := p.AwaitEnd(ctx); err != nil {
		return err
	}
	confine.Leave(p.PID)
	return nil
}

// Wait returns when p is gone, or with ctx's error.
func (p Process) Wait(ctx context.Context) error {
	for pause := time.Millisecond; p.Alive(); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, 50*time.Millisecond)
		}
	}
	return nil
}

var bootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(id))
})

// readStat returns the start time and state letter of pid. The command name, field 2, may hold spaces and parentheses:
// fields are counted from the last ')'.
func readStat(pid int) (ticks uint64, state byte, err error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, err
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	ticks, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return ticks, fields[0][0], err
}

// Identify names the live process pid.
func Identify(pid int) (Process, error) {
	ticks, _, err := readStat(pid)
	if err != nil {
		return Process{}, fmt.Errorf("identifying process %d: %w", pid, err)
	}
	return Process{PID: pid, StartTicks: ticks, BootID: bootID()}, nil
}

// Child is a VMM that this noid has just started. It outlives noid: its own session, no terminal, no inherited
// descriptors.
type Child struct {
	Process
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
	child.Process, err = Identify(cmd.Process.Pid) // it cannot have been reaped yet, so the pid is its own
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
