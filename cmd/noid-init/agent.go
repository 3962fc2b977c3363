//go:build linux

package main

import (
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// agentPath is where the initramfs has the agent; it has none when the VM shall have none.
const agentPath = "/agent"

// agent is noid's agent, whose file is deleted. Its descriptor and that of /proc outlive the initramfs, so it can be
// run in any root filesystem, even in one without /proc. Nil is no agent.
type agent struct {
	fd   int // the program
	proc int // the directory /proc, mounted anywhere or nowhere
	null int // /dev/null
}

// openAgent opens the agent and deletes its file.
func openAgent() *agent {
	fd, err := unix.Open(agentPath, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		if err != unix.ENOENT {
			say(failure{"opening the agent", err}.Error())
		}
		return nil
	}
	unix.Unlink(agentPath)
	a := &agent{fd: fd}
	if a.proc, err = unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		a.null, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		say(failure{"preparing the agent", err}.Error())
		return nil
	}
	return a
}

// enter makes /proc the working directory and returns the agent's path from there. Package syscall forks and executes
// only what has a path. The agent leaves that directory when it starts.
func (a *agent) enter() (string, error) {
	return "self/fd/" + strconv.Itoa(a.fd), unix.Fchdir(a.proc)
}

// start runs the agent beside the root filesystem's init, in a session of its own and with the console as stderr only.
// Systemd kills a process whose name begins with "@" only at the very end of a shutdown.
func (a *agent) start() error {
	path, err := a.enter()
	if err != nil {
		return err
	}
	defer unix.Chdir("/")
	_, err = syscall.ForkExec(path, []string{"@noid-agent"}, &syscall.ProcAttr{
		Files: []uintptr{uintptr(a.null), uintptr(a.null), 2},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	return err
}

// becomeInit makes this process the agent, which is then the guest's init. It only returns on failure.
func (a *agent) becomeInit() error {
	path, err := a.enter()
	if err != nil {
		return err
	}
	defer unix.Chdir("/")
	return syscall.Exec(path, []string{"noid-agent", "--init"}, nil)
}
