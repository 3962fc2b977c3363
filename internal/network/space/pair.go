package space

import (
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"

	"noid/internal/confine"
)

const (
	// PairFD is the VMM's own end of the pair, which StartPair gives it. The other end is its descriptor FD.
	PairFD = 6
	// pairBecomes is becomes for a VMM that has a pair.
	pairBecomes = "noid-vmm-pair"
)

// kept has, by the pid of a VMM that StartPair has started in this process, a descriptor of the pair's other end.
var kept sync.Map

// StartPair starts cmd as confine.Start does, with a pair of connected datagram sockets in place of a device: a frame
// is a datagram, without a virtio_net_hdr. It needs no privilege, no namespace and no device. cmd may have no
// ExtraFiles.
func StartPair(cmd *exec.Cmd, p confine.Policy) error {
	ours, theirs, err := makePair()
	if err != nil {
		return err
	}
	defer ours.Close()
	defer theirs.Close()
	in, out, err := reportPipe()
	if err != nil {
		return err
	}
	defer in.Close()
	defer out.Close()
	cmd.ExtraFiles = []*os.File{ours, out, nil, theirs}
	err = confine.StartThrough(cmd, p, self, []string{pairBecomes, cmd.Path}, rulesFD, func() error {
		out.Close()
		return readReport(in)
	})
	if err != nil {
		return err
	}
	if fd, err := unix.FcntlInt(ours.Fd(), unix.F_DUPFD_CLOEXEC, 3); err == nil {
		kept.Store(cmd.Process.Pid, os.NewFile(uintptr(fd), "pair"))
	}
	return nil
}

// Kept returns the socket of the VMM with a pid, if StartPair has started it in this process, once; else nil. A helper
// that gets it needs no right to look into the VMM, which containers deny. The caller closes it.
func Kept(pid int) *os.File {
	f, ok := kept.LoadAndDelete(pid)
	if !ok {
		return nil
	}
	return f.(*os.File)
}

func makePair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("making a pair of sockets", err)
	}
	for _, fd := range fds { // what waits counts against who has sent it
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferBytes) != nil {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bufferBytes)
		}
	}
	return os.NewFile(uintptr(fds[0]), "pair"), os.NewFile(uintptr(fds[1]), "pair"), nil
}

// becomePaired makes this process a VMM that has a pair. Where Yama is strict, only who is an ancestor of a process
// looks into it, or whom that has named: the next helper is neither, so all of this user are named.
func becomePaired(args []string) error {
	unix.Prctl(unix.PR_SET_PTRACER, ^uintptr(0), 0, 0, 0) // PR_SET_PTRACER_ANY; EINVAL without Yama
	return failure{executing + args[0], confine.Exec(args[0], args[1:], rulesFD)}
}

// IsPair reports whether a descriptor is a socket of such a pair.
func IsPair(fd int) bool {
	return has(fd, unix.SO_DOMAIN, unix.AF_UNIX) && has(fd, unix.SO_TYPE, unix.SOCK_DGRAM)
}

func has(fd, option, want int) bool {
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
	return err == nil && got == want
}
