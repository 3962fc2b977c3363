package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inboxPrefix begins the names of the sockets at which network helpers take flows, in the directory of all networks.
const inboxPrefix = ".inbox-"

// busyWait is the time between two tries to reach a helper that has many flows to take.
const busyWait = time.Millisecond

// Inbox is where a network helper takes the flows that others open to its VM, and from which it opens its own. It is
// made before the helper confines itself: after that it makes no socket of this kind any more.
type Inbox struct {
	dir   string // of all networks
	name  string
	bound bool
	file  *os.File
	raw   syscall.RawConn
	paths *os.File // dir, for names that are short enough for a socket
}

// NewInbox makes the inbox of the VM whose VMM has these arguments (proc.Process.Args), in the directory dir of all
// networks. Nobody reaches it before Bind.
func NewInbox(dir string, vmm []string) (*Inbox, error) {
	sum := sha256.Sum256([]byte(strings.Join(vmm, " ")))
	i := &Inbox{dir: dir, name: fmt.Sprintf("%s%x", inboxPrefix, sum[:8])}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if i.paths, err = os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		i.file = os.NewFile(uintptr(fd), "inbox")
		i.raw, err = i.file.SyscallConn()
	}
	if err != nil {
		i.paths.Close()
		return nil, os.NewSyscallError("socket", err)
	}
	return i, nil
}

// Bind has the inbox be reached by who knows the key of one of its networks. It takes the place of one of the same VM
// whose helper has died.
func (i *Inbox) Bind() error {
	if i.bound {
		return nil
	}
	os.Remove(filepath.Join(i.dir, i.name))
	var err error
	bindErr := i.raw.Control(func(fd uintptr) {
		err = unix.Bind(int(fd), &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", i.paths.Fd(), i.name)})
	})
	if err = errors.Join(bindErr, err); err == nil {
		err = os.Chmod(filepath.Join(i.dir, i.name), 0o600)
	}
	i.bound = err == nil
	return err
}

// Close ends the inbox, and removes it.
func (i *Inbox) Close() error {
	if i.bound {
		os.Remove(filepath.Join(i.dir, i.name))
	}
	i.paths.Close()
	return i.file.Close()
}

// Receive waits for a flow that is opened by who knows the key that key has for its destination. Others, and what is no
// message, it drops. After Close it returns net.ErrClosed.
func (i *Inbox) Receive(key func(Open) (Key, bool)) (o Open, c *Conn, err error) {
	for {
		message, fd, err := i.receive()
		switch {
		case errors.Is(err, net.ErrClosed):
			return o, nil, err
		case err != nil: // this process has no descriptor left, say
			time.Sleep(busyWait)
			continue
		case fd < 0:
			continue
		}
		if o, given, err := parse(message); err == nil && isFlow(fd) {
			if wanted, known := key(o); known && wanted.equal(given) {
				if c, err := newConn(fd); err == nil {
					return o, c, nil
				}
				continue
			}
		}
		unix.Close(fd)
	}
}

// receive returns the next message, and the one descriptor that came with it or -1.
func (i *Inbox) receive() (message []byte, fd int, err error) {
	buf, control := make([]byte, openLen+1), make([]byte, unix.CmsgSpace(4))
	var n, controls int
	waited := i.raw.Read(func(in uintptr) bool {
		for err = unix.EINTR; err == unix.EINTR; {
			n, controls, _, _, err = unix.Recvmsg(int(in), buf, control, unix.MSG_CMSG_CLOEXEC)
		}
		return err != unix.EAGAIN
	})
	if waited != nil { // there is no deadline
		return nil, -1, net.ErrClosed
	} else if err != nil {
		return nil, -1, err
	}
	fd = -1
	messages, _ := unix.ParseSocketControlMessage(control[:controls])
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m)
		for _, got := range fds { // there is room for one: the kernel drops more
			fd = got
		}
	}
	return buf[:n], fd, nil
}

// isFlow reports whether fd is a socket as open makes it, and has it not block.
func isFlow(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	kind, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && err2 == nil && domain == unix.AF_UNIX && kind == unix.SOCK_SEQPACKET && unix.SetNonblock(fd, true) == nil
}

// Open opens a flow on the network called name to who answers there at the address o.To, and waits up to wait for room
// in its inbox. unix.ECONNREFUSED: nobody answers.
func (i *Inbox) Open(name string, key Key, o Open, wait time.Duration) (*Conn, error) {
	to, done, err := socketAddr(filepath.Join(i.dir, name, Four(o.To.Addr()).String()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, unix.ECONNREFUSED
	} else if err != nil {
		return nil, err
	}
	defer done()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	message, rights := o.encode(key), unix.UnixRights(fds[1])
	for end := time.Now().Add(wait); ; time.Sleep(busyWait) {
		sendErr := i.raw.Control(func(fd uintptr) { err = unix.Sendmsg(int(fd), message, rights, to, unix.MSG_NOSIGNAL) })
		if err = errors.Join(sendErr, err); !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) || time.Now().After(end) {
			break
		}
	}
	unix.Close(fds[1])
	if err != nil {
		unix.Close(fds[0])
		return nil, err
	}
	return newConn(fds[0])
}

// socketAddr is the address of the socket path, however long that is, until done is called.
func socketAddr(path string) (to *unix.SockaddrUnix, done func(), err error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d", fd)}, func() { unix.Close(fd) }, nil
}
