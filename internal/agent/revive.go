package agent

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
)

// "kill -9 -1" spares process 1 and nothing else: no process could start the agent again. The kernel can. When the last
// task of a version 1 cgroup ends, it executes the release_agent of the hierarchy (Documentation/admin-guide/
// cgroup-v1/cgroups.rst, 1.4). So one thread of the agent, which ends when the agent does, is the only task of a cgroup
// in a hierarchy without controllers. All other threads, and so all commands, stay outside of it.

const (
	hierarchy = "noid"
	// Revived is the argument that the kernel starts the agent again with: its cgroup's path in the hierarchy.
	Revived = "/noid-agent"
	// reviveWait keeps an agent that dies as it starts from taking up the guest's processor.
	reviveWait = 100 * time.Millisecond
)

// Revive goes on as the agent after the kernel has started this process in its stead. It only returns on failure.
func Revive(path string) error {
	time.Sleep(reviveWait)
	unix.Setsid()
	return syscall.Exec(path, []string{"@noid-agent"}, nil) // the name that noid-init gives it
}

// outlive has the kernel start the agent again whenever it dies. It only returns on failure: the guest's kernel has no
// cgroups, or the agent's binary has no path.
func outlive() error {
	path, err := os.Readlink(self)
	if err != nil {
		return err
	}
	if !exists(path) {
		return &os.PathError{Op: "find", Path: path, Err: unix.ENOENT}
	}
	root, err := login.Mount("cgroup", "none", "name="+hierarchy)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	if err := unix.Mkdirat(root, Revived[1:], 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("making a cgroup: %w", err)
	}
	runtime.LockOSThread()
	for _, f := range []struct{ name, value string }{
		{"release_agent", path},
		{Revived[1:] + "/notify_on_release", "1"},
		{Revived[1:] + "/tasks", "0"}, // the thread that writes it
	} {
		if err := writeAt(root, f.name, f.value); err != nil {
			return err
		}
	}
	select {}
}

func writeAt(dir int, name, value string) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	_, err = io.WriteString(f, value)
	return err
}
