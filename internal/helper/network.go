package helper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/network/lab"
	"noid/internal/network/space"
	"noid/internal/proc"
	"noid/internal/vmm"
)

const (
	// netLock is the file in a VM's directory that its network helper holds a flock on: one that outlives the helper
	// which started it goes on, and the next helper waits for its end.
	netLock = "net.lock"
	// netErrors has what network helpers wrote before they died, the last maxErrors bytes of it or a little more.
	netErrors = "net.err"
	maxErrors = 64 << 10
	// A network helper that dies is started again after firstWait, and after twice that each time it dies before it
	// is steady, up to lastWait.
	firstWait = 50 * time.Millisecond
	lastWait  = 30 * time.Second
	steady    = 10 * time.Second
	// servedWait is between two looks at whether another one is still at work.
	servedWait = 250 * time.Millisecond
)

// Network is what the network helper of a VM is run with.
type Network struct {
	Program func() (string, error) // returns its path
	Secrets Secrets                // nil for none
	Peers   string                 // the directory of networks between VMs; "" for none
}

// keepNetwork runs the network helper of the VM whose VMM is p until ctx ends, which is with the VMM, if the VM has a
// network. The network helper is told p, as p.Args() does, and has the packet socket as its descriptor 3, its lock as 4
// and this host's resolv.conf by 5.
func keepNetwork(ctx context.Context, p proc.Process, n *Network) {
	if _, err := os.Lstat(network.ConfigFile); errors.Is(err, fs.ErrNotExist) {
		return // nor has a clone that somebody looks into, though it has the device
	}
	socket := inheritedSocket()
	if socket == nil {
		var err error
		if socket, err = space.Socket(p); err != nil {
			return // the VM has none
		}
	}
	defer socket.Close()
	started := make(chan bool, 1)
	var gives sync.WaitGroup
	defer gives.Wait()
	if n.Secrets != nil { // also where another helper has started the network helper
		gives.Go(func() { giveSecrets(ctx, n.Secrets, p.PID, started) })
	}
	var brokers sync.WaitGroup
	brokers.Go(func() { keepSockets(ctx, p.PID) })
	defer brokers.Wait()
	for wait := firstWait; ctx.Err() == nil; {
		began := time.Now()
		err := runNetwork(ctx, p, n, socket, started)
		if errors.Is(err, errServed) {
			vmm.Sleep(ctx, servedWait)
			continue
		}
		if ctx.Err() == nil {
			note(fmt.Sprintf("noid: the network helper: %v\n", err))
		}
		if time.Since(began) >= steady {
			wait = firstWait
		}
		vmm.Sleep(ctx, wait)
		wait = min(2*wait, lastWait)
	}
	os.Remove(network.ControlSocket) // which the network helper may not
}

// socketFD is the descriptor of a VMM's pair that Start gives to a helper.
const socketFD = 4

// inheritedSocket returns it, or nil.
func inheritedSocket() *os.File {
	if !space.IsPair(socketFD) {
		return nil
	}
	unix.CloseOnExec(socketFD)
	return os.NewFile(socketFD, "pair")
}

// errServed says that another network helper is at work.
var errServed = errors.New("another is at work")

// runNetwork runs the network helper once, tells started, and returns why it ended.
func runNetwork(ctx context.Context, p proc.Process, n *Network, socket *os.File, started chan<- bool) error {
	fd, err := openLock(netLock)
	if err != nil {
		return err
	}
	lock := os.NewFile(uintptr(fd), netLock)
	defer lock.Close()
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return errServed
	} else if err != nil {
		return err
	}
	path, err := n.Program()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, p.Args()...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool { // which Start has set for this process
		return strings.HasPrefix(entry, "GOMAXPROCS=") || strings.HasPrefix(entry, "GOGC=")
	})
	cmd.Env = append(cmd.Env, lab.Env+"="+n.Peers)
	conf, theirs, err := control.ConfPipe(network.ResolvConf)
	if err != nil {
		return err
	}
	defer conf.Close()
	defer theirs.Close()
	cmd.ExtraFiles = []*os.File{socket, lock, theirs}
	if cmd.Stderr, err = openErrors(); err != nil {
		return err
	}
	defer cmd.Stderr.(*os.File).Close()
	if err := cmd.Start(); err != nil {
		return err
	}
	select {
	case started <- true:
	default:
	}
	lock.Close() // from now on they are the network helper's alone
	theirs.Close()
	err = cmd.Wait()
	if err == nil {
		err = errors.New("exit status 0")
	}
	return err
}

// openErrors opens netErrors for appending, emptied when it is long.
func openErrors() (*os.File, error) {
	f, err := os.OpenFile(netErrors, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Size() > maxErrors {
		f.Truncate(0)
	}
	return f, nil
}

func note(text string) {
	if f, err := openErrors(); err == nil {
		f.WriteString(text)
		f.Close()
	}
}
