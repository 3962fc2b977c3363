// Package space gives a VMM a network namespace of its own, in which the guest's network device ends: a persistent tap
// that the VMM opens by its name, and a packet socket on the kernel's side of it. The socket stays open in the VMM, so
// that a network helper can be given it at any time. There is nothing else in the namespace, and no way out of it but
// that socket.
//
// Who has CAP_SYS_ADMIN makes the namespace on a thread. Anybody else needs a user namespace, which the kernel gives to
// a process of one thread alone: the program starts itself once more, as the VMM-to-be (see Main), with its own user
// and group mapped to themselves.
//
// Where the host allows none of that, StartPair gives the VMM one of a pair of sockets instead.
package space

import (
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"noid/internal/confine"
	"noid/internal/proc"
)

const (
	// Tap is the guest's device as the VMM calls it. Snapshots of Firecracker have the name.
	Tap = "tap0"
	// Device is what the VMM opens to have it.
	Device = "/dev/net/tun"
	// FD is the packet socket's descriptor in the VMM, or that of the pair's other end.
	FD = 3
	// HeaderBytes is how long the virtio_net_hdr is that stands before each frame on the packet socket.
	HeaderBytes = 10
)

// Start starts cmd as confine.Start does, in a network namespace with the device Tap and with the packet socket as its
// descriptor FD. cmd may have no ExtraFiles. Where the host does not allow that, it is an errs.ErrHost with the cure.
func Start(cmd *exec.Cmd, p confine.Policy) error {
	if !privileged() {
		return explain(startAgain(cmd, p))
	}
	var socket *os.File
	err := confine.StartIn(cmd, p, func() (err error) {
		socket, err = enter()
		cmd.ExtraFiles = []*os.File{socket}
		return err
	})
	if socket != nil {
		socket.Close()
	}
	return explain(err)
}

// privileged reports whether this process may make a network namespace as it is.
func privileged() bool {
	var have [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &have[0])
	return err == nil && have[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0 && have[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}

// enter puts the calling thread into a new network namespace and makes what belongs there.
func enter() (socket *os.File, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, failure{"making a network namespace", err}
	}
	return furnish()
}

// Socket returns the packet socket of p, a VMM that Start has started, or the pair's other end of one that StartPair
// has. The caller closes it.
func Socket(p proc.Process) (*os.File, error) {
	pidfd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return nil, fmt.Errorf("opening process %d: %w", p.PID, err)
	}
	defer unix.Close(pidfd)
	if !p.Alive() { // the pidfd may name a successor
		return nil, fmt.Errorf("process %d has ended", p.PID)
	}
	fd, err := unix.PidfdGetfd(pidfd, FD, 0)
	if err != nil {
		return nil, fmt.Errorf("getting the packet socket of process %d: %w", p.PID, err)
	}
	// The VMM may have been taken over by its guest, and have anything there.
	if !has(fd, unix.SO_DOMAIN, unix.AF_PACKET) && !IsPair(fd) {
		unix.Close(fd)
		return nil, fmt.Errorf("process %d has no packet socket at descriptor %d", p.PID, FD)
	}
	return os.NewFile(uintptr(fd), "packet"), nil
}
