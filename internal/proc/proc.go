// Package proc names processes so that no other is ever taken for them, and ends them.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/confine"
	"noid/internal/errs"
)

// Process names a process so that a reused pid or a rebooted host is never mistaken for it.
type Process struct {
	PID int `json:"pid"`
	// StartTicks is field 22 of /proc/PID/stat (proc(5)): clock ticks after boot at which the process started.
	StartTicks uint64 `json:"start_ticks"`
	// BootID is /proc/sys/kernel/random/boot_id when it was started.
	BootID string `json:"boot_id"`
	// PIDNamespace is the inode of the pid namespace in which PID counts, Host what that calls its host. An older noid
	// recorded neither.
	PIDNamespace uint64 `json:"pid_namespace,omitempty"`
	Host         string `json:"host,omitempty"`
}

// words is how many Args makes.
const words = 5

// Args is p as arguments of a command, for Parse.
func (p Process) Args() []string {
	return []string{strconv.Itoa(p.PID), strconv.FormatUint(p.StartTicks, 10), p.BootID, strconv.FormatUint(p.PIDNamespace, 10), p.Host}
}

// Parse is what Args made.
func Parse(args []string) (p Process, err error) {
	if len(args) != words {
		return p, fmt.Errorf("%d words do not name a process", len(args))
	}
	var problems [3]error
	p.PID, problems[0] = strconv.Atoi(args[0])
	p.StartTicks, problems[1] = strconv.ParseUint(args[1], 10, 64)
	p.PIDNamespace, problems[2] = strconv.ParseUint(args[3], 10, 64)
	p.BootID, p.Host = args[2], args[4]
	return p, errors.Join(problems[:]...)
}

// Here reports whether p was started in this pid namespace, and since the host booted: whether its pid means anything
// to this process.
func (p Process) Here() bool {
	return p.PID > 0 && p.BootID == bootID() && (p.PIDNamespace == 0 || p.PIDNamespace == namespace())
}

// Alive reports whether the very process that p names exists here and is not a zombie.
func (p Process) Alive() bool {
	if !p.Here() || unix.Kill(p.PID, 0) == unix.ESRCH { // which is cheaper to ask than /proc
		return false
	}
	ticks, state, err := readStat(p.PID)
	return err == nil && ticks == p.StartTicks && state != 'Z' && state != 'X'
}

// In reports whether p works in the directory dir, whatever that is called by now. A record that says otherwise is
// damaged, or a hostile VMM wrote it.
func (p Process) In(dir string) bool {
	want, err := os.Stat(dir)
	if err != nil {
		return false
	}
	got, err := os.Stat(filepath.Join("/proc", strconv.Itoa(p.PID), "cwd"))
	return err == nil && os.SameFile(want, got)
}

// FindIn returns the processes of this pid namespace that work in dir and have its FIFO input as their standard input.
func FindIn(dir, input string) (found []Process) {
	fifo, err := os.Lstat(filepath.Join(dir, input))
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
		if namespaceOf(e.Name()) != namespace() { // a container's, which has another pid there
			continue
		}
		if p, err := Identify(pid); err == nil && p.Alive() && p.In(dir) {
			found = append(found, p)
		}
	}
	return found
}

// Kill sends SIGKILL to p, if it is alive, and waits for its end. The signal goes through a pidfd: it never reaches
// another process with the same pid.
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
	if err := p.Wait(ctx); err != nil {
		return err
	}
	confine.Leave(p.PID)
	return nil
}

// BootID names this boot of the host, as /proc/sys/kernel/random/boot_id has it; "unknown" where that cannot be read.
func BootID() string { return bootID() }

var bootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(id))
})

// namespaceOf returns the inode of the pid namespace of the process that /proc calls name; 0 where it cannot be told.
func namespaceOf(name string) uint64 {
	var st unix.Stat_t
	if unix.Stat(filepath.Join("/proc", name, "ns", "pid"), &st) != nil {
		return 0
	}
	return st.Ino
}

// namespace is this process's own.
var namespace = sync.OnceValue(func() uint64 { return namespaceOf("self") })

// readStat returns the start time and state letter of pid.
func readStat(pid int) (ticks uint64, state byte, err error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, 0, err
	}
	ticks, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return ticks, fields[0][0], err
}

// stat returns the fields of /proc/PID/stat from the third on, at least 20 (proc(5)). The command's name, field 2, may
// hold spaces and parentheses: fields are counted from the last ')'.
func stat(pid int) ([][]byte, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil, err
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	return fields, nil
}

// clockTick is the unit of /proc/PID/stat: USER_HZ is 100 on every architecture that noid runs on.
const clockTick = 10 * time.Millisecond

// CPUTime is what p has used of processors so far, its threads' together, to clockTick.
func (p Process) CPUTime() (time.Duration, error) {
	if !p.Here() {
		return 0, os.ErrNotExist
	}
	fields, err := stat(p.PID)
	if err != nil {
		return 0, err
	}
	var ticks [3]uint64
	for i, n := range []int{19, 11, 12} { // when it started, and fields 14 and 15, utime and stime
		if ticks[i], err = strconv.ParseUint(string(fields[n]), 10, 64); err != nil {
			return 0, err
		}
	}
	if ticks[0] != p.StartTicks {
		return 0, os.ErrNotExist
	}
	return time.Duration(ticks[1]+ticks[2]) * clockTick, nil
}

// Identify names the live process pid. errs.ErrHost is a /proc that counts pids otherwise than this process does.
func Identify(pid int) (Process, error) {
	if self, err := os.Readlink("/proc/self"); err == nil && self != strconv.Itoa(os.Getpid()) {
		return Process{}, errs.New(errs.ErrHost, "/proc is of another pid namespace").Hint("mount this one's: `mount -t proc proc /proc`; unshare has --mount-proc")
	}
	ticks, _, err := readStat(pid)
	if err != nil {
		return Process{}, fmt.Errorf("identifying process %d: %w", pid, err)
	}
	host, _ := os.Hostname() // for messages alone
	return Process{PID: pid, StartTicks: ticks, BootID: bootID(), PIDNamespace: namespace(), Host: host}, nil
}

// ended reports whether a process's last thread has ended: its main thread may do so before, and keep files open.
func ended(pidfd uintptr) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// Wait returns when p is gone, at once and without polling where the kernel has pidfds, or with ctx's error.
func (p Process) Wait(ctx context.Context) error {
	if fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK); err == nil { // it is readable when its process has ended
		f := os.NewFile(uintptr(fd), "pidfd")
		defer f.Close()
		defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Now()) })()
		if conn, err := f.SyscallConn(); err == nil && p.Alive() { // else the pid is another's already
			conn.Read(ended)
		}
	}
	for pause := time.Millisecond; p.Alive(); pause = min(2*pause, 50*time.Millisecond) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil
}
