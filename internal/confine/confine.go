// Package confine starts a VMM with no more than it needs. A hostile guest that takes its VMM over gets a process
// that writes its VM's own files alone, reads little else, speaks to no network and has no privileges.
//
// What this kernel cannot do is left out, and Probe tells. noid itself stays unconfined: what a process inherits is
// set on one thread, which starts the VMM and ends. Limits are set from outside before the guest runs.
package confine

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Policy says what one VMM may do.
type Policy struct {
	// Dir is the VM's own directory. It may be renamed later: it is known by its inode.
	Dir string
	// Read are files and directories for reading. What is not there is left out.
	Read []string
	// Write are files for writing, by their names in Dir. Those that are not there are left out.
	Write []string
	// Make is a directory in Dir in which files may be made and written, by its name. Empty for none.
	Make string
	// Devices are device files for reading, writing and ioctl.
	Devices []string
	Limits  Limits
}

// Start starts cmd, whose Path must be absolute, confined as p says. It is otherwise cmd.Start.
func Start(cmd *exec.Cmd, p Policy) error { return StartIn(cmd, p, func() error { return nil }) }

// StartIn is Start by a thread that has called enter before it was confined, and then ends: into namespaces say.
func StartIn(cmd *exec.Cmd, p Policy, enter func() error) error {
	closeOnExec()
	rules := newRules(p, cmd.Path)
	defer rules.close()
	var err error
	OnDyingThread(func() {
		if err = enter(); err != nil {
			return
		}
		got := confineThread(p.reachable, cmd.Path, rules)
		cmd.Env = append(cmd.Environ(), landlockIs(got))
		err = cmd.Start()
	})
	if err == nil {
		p.Limits.set(cmd.Process.Pid)
		p.Limits.join(cmd.Process.Pid, p.Dir)
	}
	return err
}

// landlockEnv is a VMM's environment variable with Landlock's ABI when it was started, 0 for none: the kernel does
// not tell.
const landlockEnv = "NOID_LANDLOCK"

func landlockIs(abi int) string { return fmt.Sprintf("%s=%d", landlockEnv, abi) }

// confineThread confines the calling thread for good, and returns Landlock's ABI, or 0 where it was not to be had.
// reachable is for dropCapabilities, with binary.
func confineThread(reachable func(binary string) bool, binary string, rules *ruleset) (abi int) {
	// It is a thread's own, and inherited; Landlock and seccomp want it of whoever has no CAP_SYS_ADMIN.
	unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if unix.Unshare(unix.CLONE_FS) == nil { // the umask is all threads' otherwise
		unix.Umask(0o077)
	}
	if rules.enforce() == nil {
		abi = rules.abi
	}
	dropCapabilities(func() bool { return reachable(binary) })
	filterCalls()
	return abi
}

// reachable reports whether the calling thread can open, by files' owners and modes, what the VMM will.
func (p Policy) reachable(binary string) bool {
	can := func(path string, mode uint32) bool {
		err := unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS)
		return err == nil || err != unix.EACCES && err != unix.EPERM // what is not there needs no privilege
	}
	if !can(p.Dir, unix.R_OK|unix.W_OK|unix.X_OK) || !can(binary, unix.X_OK) {
		return false
	}
	for _, path := range p.Read {
		if !can(path, unix.R_OK) {
			return false
		}
	}
	for _, name := range p.Write {
		if !can(p.Dir+"/"+name, unix.R_OK|unix.W_OK) {
			return false
		}
	}
	for _, path := range p.Devices {
		if !can(path, unix.R_OK|unix.W_OK) {
			return false
		}
	}
	return true
}

// OnDyingThread runs f on a thread that ends when f returns: a goroutine that is locked to its thread ends it. The
// runtime copies no locked thread: from LockOSThread on it has a clean one for that.
func OnDyingThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread does not end, and it stands for the process in /proc. While it is held here, f gets
			// another.
			OnDyingThread(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// closeOnExec marks all descriptors but the first three. noid's own are marked; whoever started noid may have left
// others.
func closeOnExec() {
	if unix.CloseRange(3, ^uint(0)>>1&0xffffffff, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	names, err := os.ReadDir("/proc/self/fd") // before Linux 5.11
	if err != nil {
		return
	}
	for _, n := range names {
		var fd int
		if _, err := fmt.Sscan(n.Name(), &fd); err == nil && fd > 2 && !strings.HasPrefix(n.Name(), "-") {
			unix.CloseOnExec(fd)
		}
	}
}
