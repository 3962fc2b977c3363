//go:build linux

package main

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// agentPath is where the initramfs has the agent; it has none when the VM shall have none.
	agentPath = "/agent"
	// keptPath is where the agent stays: the kernel starts it again from there when it was killed. Every devtmpfs of a
	// guest is the same one, so whatever the root's init mounts on /dev, it is there.
	keptPath = "/dev/.noid-agent"
	// archivePath is where the initramfs has the modules that the kernel may ask for, keptArchive where the agent looks
	// for them (internal/agent/modprobe.go).
	archivePath = "/modules.tar"
	keptArchive = "/dev/.noid-modules"
	// agentRuns is what noid looks for in the console's log (internal/console).
	agentRuns = "the agent runs"
)

// hasTransport reports whether the kernel drives a device that the host can reach the agent by.
func hasTransport() bool {
	for _, driver := range []string{"virtio_console", "vmw_vsock_virtio_transport"} {
		for _, name := range list("/sys/bus/virtio/drivers/" + driver) {
			if strings.HasPrefix(name, "virtio") { // a link to the device
				return true
			}
		}
	}
	return false
}

// agent is noid's agent. Its descriptor and that of /proc outlive the initramfs, so it can be run in any root
// filesystem, even in one without /dev and /proc. Nil is no agent.
type agent struct {
	fd   int // the program
	proc int // the directory /proc, mounted anywhere or nowhere
	null int // /dev/null
}

// openAgent opens the agent and moves its file to keptPath.
func openAgent() *agent {
	fd, err := unix.Open(agentPath, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		if err != unix.ENOENT {
			say(failure{"opening the agent", err}.Error())
		}
		return nil
	}
	unix.Unlink(agentPath)
	if kept, err := keep(fd, keptPath, 0o700); err == nil {
		unix.Close(fd)
		fd = kept
	} else {
		say(failure{"copying the agent to " + keptPath, err}.Error())
	}
	keepArchive()
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

// keepArchive moves the archive of modules to keptArchive.
func keepArchive() {
	fd, err := unix.Open(archivePath, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return
	}
	kept := -1
	if err == nil {
		kept, err = keep(fd, keptArchive, 0o600)
		unix.Close(fd)
		unix.Close(kept)
	}
	if err != nil {
		say(failure{"copying the modules to " + keptArchive, err}.Error())
	}
	unix.Unlink(archivePath)
}

// keep copies the file fd to path and opens that.
func keep(fd int, path string, mode uint32) (int, error) {
	to, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, mode)
	if err != nil {
		return -1, err
	}
	for n := 1; n > 0 && err == nil; {
		n, err = unix.Sendfile(to, fd, nil, 1<<30)
	}
	unix.Close(to)
	if err != nil {
		unix.Unlink(path)
		return -1, err
	}
	return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
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
