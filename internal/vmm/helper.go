package vmm

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// HelperLock is the file in a VM's directory that its helper holds a flock on for as long as it lives. The helper is a
// process of noid's that lives as long as the VMM: it bounds the logs, and with QEMU it serves the agent's connections.
const HelperLock = "helper.lock"

// StartHelper starts command as the helper of the VM whose VMM p runs in dir, and does not wait for it. It lives as long as
// p does. Where one is at work, a second leaves by itself.
func StartHelper(command []string, dir string, p Process) error {
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], p.Args()...)...)
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // no zombie, should this process live longer
	return nil
}

// LockHelper takes HelperLock of the current directory for this process, for good. It waits until ctx ends for a helper
// that goes away, and returns false when it stayed.
func LockHelper(ctx context.Context) (bool, error) {
	fd, err := openHelperLock(HelperLock)
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
	return false, &os.PathError{Op: "lock", Path: HelperLock, Err: err}
}

// HasHelper reports whether the VM in dir has a helper, one that only starts perhaps.
func HasHelper(dir string) bool {
	fd, err := openHelperLock(dir + "/" + HelperLock)
	if err != nil {
		return false
	}
	defer unix.Close(fd) // and with it the lock
	return errors.Is(unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func openHelperLock(path string) (int, error) {
	return unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
}

// AwaitEnd returns when p is gone, at once and without polling, or with ctx's error.
func (p Process) AwaitEnd(ctx context.Context) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil || !p.Alive() { // the pid may be another's already
		if err == nil {
			unix.Close(fd)
		}
		return p.Wait(ctx)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		defer f.Close()
		for {
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	select {
	case <-gone:
		return p.Wait(ctx) // a zombie is as good as gone, and Alive says so
	case <-ctx.Done():
		return ctx.Err()
	}
}
