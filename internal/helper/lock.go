package helper

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/proc"
)

// LockFile is the file in a VM's directory that its helper holds a flock on for as long as it lives. The helper is a
// process of noid's that lives as long as the VMM: it bounds the logs, and with QEMU it serves the agent's connections.
const LockFile = "helper.lock"

// Start starts command as the helper of the VM whose VMM p runs in dir, and does not wait for it. It lives as long as
// p does. Where one is at work, a second leaves by itself.
func Start(command []string, dir string, p proc.Process) error {
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], p.Args()...)...)
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // no zombie, should this process live longer
	return nil
}

// Lock takes LockFile of the current directory for this process, for good. It waits until ctx ends for a helper
// that goes away, and returns false when it stayed.
func Lock(ctx context.Context) (bool, error) {
	fd, err := openHelperLock(LockFile)
	for err == nil {
		if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return true, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		select {
		case <-ctx.Done():
			unix.Close(fd)
			return false, nil
		case <-time.After(10 * time.Millisecond):
			err = nil
		}
	}
	return false, &os.PathError{Op: "lock", Path: LockFile, Err: err}
}

// Present reports whether the VM in dir has a helper, one that only starts perhaps.
func Present(dir string) bool {
	fd, err := openHelperLock(dir + "/" + LockFile)
	if err != nil {
		return false
	}
	defer unix.Close(fd) // and with it the lock
	return errors.Is(unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func openHelperLock(path string) (int, error) {
	return unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
}
