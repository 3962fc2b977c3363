// Package helper is the process that noid runs beside each VMM, in the VM's directory: it bounds the logs, guards
// pauses, keeps the VM's network helper running, and does the driver's own part, such as serving the agent's
// connections. It lives as long as the VMM.
package helper

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network/space"
	"noid/internal/proc"
	"noid/internal/vmm"
)

// LockFile is the file in a VM's directory that its helper holds a flock on for as long as it lives.
const LockFile = "helper.lock"

// Start starts command as the helper of the VM in dir, whose VMM is p and whose driver has that name, and does not wait
// for it: to command it appends the name and p.Args(). The command is to call Run. Where a helper is at work, a second
// leaves by itself.
func Start(command []string, driver, dir string, p proc.Process) error {
	args := append([]string{driver}, p.Args()...)
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], args...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=100") // it waits, mostly: memory is what it costs
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Setsid: true}
	if fd, err := openLock(dir + "/" + LockFile); err == nil { // it has the lock before it can take it: see Present
		lock := os.NewFile(uintptr(fd), LockFile)
		defer lock.Close()
		unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		cmd.ExtraFiles = []*os.File{lock}
	}
	if socket := space.Kept(p.PID); socket != nil {
		defer socket.Close()
		if cmd.ExtraFiles == nil {
			cmd.ExtraFiles = []*os.File{nil}
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, socket)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // no zombie, should this process live longer
	return nil
}

// Lock takes LockFile of the current directory for this process, for good. It waits until ctx ends for a helper
// that goes away, and returns false when it stayed.
func Lock(ctx context.Context) (bool, error) {
	fd, err := inherited, error(nil)
	if !isLock(fd) {
		fd, err = openLock(LockFile)
	}
	for err == nil {
		if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return true, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		if err = vmm.Sleep(ctx, 10*time.Millisecond); err != nil {
			unix.Close(fd)
			return false, nil
		}
	}
	return false, &os.PathError{Op: "lock", Path: LockFile, Err: err}
}

// inherited is the descriptor of LockFile that Start gives to a helper.
const inherited = 3

// isLock reports whether fd is LockFile of the current directory. If so, it is kept from children.
func isLock(fd int) bool {
	var a, b unix.Stat_t
	if unix.Fstat(fd, &a) != nil || unix.Lstat(LockFile, &b) != nil || a.Dev != b.Dev || a.Ino != b.Ino {
		return false
	}
	unix.CloseOnExec(fd)
	return true
}

// Present reports whether the VM in dir has a helper, one that only starts perhaps.
func Present(dir string) bool {
	fd, err := openLock(dir + "/" + LockFile)
	if err != nil {
		return false
	}
	defer unix.Close(fd) // and with it the lock
	return errors.Is(unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func openLock(path string) (int, error) {
	return unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
}
