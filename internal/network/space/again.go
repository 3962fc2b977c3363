package space

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"noid/internal/confine"
)

const (
	// becomes is the name under which the program starts itself to become a VMM: its arguments are the VMM's path,
	// and what that is to get.
	becomes = "noid-vmm"
	// Its descriptors, beside FD: where it says why it failed, and the rules of confine.
	reportFD = 4
	rulesFD  = 5
	// executing begins what it says when the namespaces are not to blame.
	executing = "executing "
	// maxReport bounds what it says, in bytes.
	maxReport = 4096
)

// again says that Main has run: that this program, started again, would be what startAgain needs.
var again bool

// Main is for the main function of a program that calls Start or Available, before anything else. In a process that
// these have made it does not return.
func Main() {
	again = true
	if len(os.Args) == 0 || os.Args[0] != becomes && os.Args[0] != pairBecomes {
		return
	}
	runtime.LockOSThread() // what Exec confines is the thread
	unix.CloseOnExec(reportFD)
	how := become
	if os.Args[0] == pairBecomes {
		how = becomePaired
	}
	err := how(os.Args[1:])
	if err == nil {
		os.Exit(0)
	}
	var f failure
	if !errors.As(err, &f) {
		f.doing = err.Error()
	}
	errno, _ := f.errno.(unix.Errno)
	fmt.Fprintf(os.NewFile(reportFD, "report"), "%d %s", int(errno), f.doing)
	os.Exit(1)
}

// become makes this process a VMM, or with no arguments only what one would need.
func become(args []string) error {
	socket, err := furnish()
	if err != nil || len(args) == 0 {
		return err
	}
	if err := unix.Dup3(int(socket.Fd()), FD, 0); err != nil {
		return failure{"keeping the packet socket", err}
	}
	return failure{executing + args[0], confine.Exec(args[0], args[1:], rulesFD)}
}

// startAgain is Start by way of Main.
func startAgain(cmd *exec.Cmd, p confine.Policy) error {
	in, out, err := prepareAgain(cmd)
	if err != nil {
		return err
	}
	defer in.Close()
	defer out.Close()
	err = confine.StartThrough(cmd, p, self, []string{becomes, cmd.Path}, rulesFD, func() error {
		out.Close()
		return readReport(in)
	})
	return refused(err)
}

// refused is err of a process that was to begin in new namespaces: a number alone is the kernel's refusal of these.
func refused(err error) error {
	errno, ok := errors.AsType[unix.Errno](err)
	if _, said := errors.AsType[failure](err); !ok || said {
		return err
	}
	return failure{"making a user namespace", errno}
}

// self is this program, however its file is called by now.
const self = "/proc/self/exe"

// prepareAgain gives cmd its namespaces, what Main needs in them, and a pipe that readReport is to read.
func prepareAgain(cmd *exec.Cmd) (in, out *os.File, err error) {
	if in, out, err = reportPipe(); err != nil {
		return nil, nil, err
	}
	cmd.ExtraFiles = []*os.File{out, out} // the first keeps FD from being anything else's
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	a := cmd.SysProcAttr
	a.Cloneflags |= unix.CLONE_NEWUSER | unix.CLONE_NEWNET
	// To themselves: as user 0 of the namespace, the VMM would have all capabilities in it.
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	a.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SETPCAP} // until it is confined
	return in, out, nil
}

// reportPipe is what readReport is to read, and its other end.
func reportPipe() (in, out *os.File, err error) {
	if !again {
		return nil, nil, errors.New("this program starts no VMM with a network: it does not call space.Main")
	}
	return os.Pipe()
}

// readReport waits for Main's end, which closes the pipe, and returns what it says.
func readReport(in io.Reader) error {
	said, err := io.ReadAll(io.LimitReader(in, maxReport))
	if err != nil || len(said) == 0 {
		return err
	}
	number, doing, _ := strings.Cut(string(said), " ")
	errno, err := strconv.Atoi(number)
	if err != nil || errno == 0 {
		return fmt.Errorf("preparing the VMM's process: %s", doing)
	}
	return failure{doing, unix.Errno(errno)}
}
