package agent

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// port is the guest's end of a virtio-serial port.
type port struct{ f *os.File }

// openPort opens the virtio-serial port with this name. The kernel lets one process do that at a time.
func openPort(name string) (*port, error) {
	for _, p := range listSys("class/virtio-ports") {
		if readSys("class/virtio-ports/"+p+"/name") != name {
			continue
		}
		var major, minor uint32
		if n, _ := fmt.Sscanf(readSys("class/virtio-ports/"+p+"/dev"), "%d:%d", &major, &minor); n != 2 {
			continue
		}
		fd, err := openDevice(p, major, minor, unix.O_RDWR|unix.O_NONBLOCK)
		if err != nil {
			return nil, err
		}
		return &port{os.NewFile(uintptr(fd), p)}, nil
	}
	return nil, fmt.Errorf("virtio-serial port %s: %w", name, os.ErrNotExist)
}

// Read waits while no host is connected, where the kernel has end-of-file: the runtime's poller is edge-triggered, and
// the host's coming is an edge.
func (p *port) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return p.do(true, func(fd int) (n int, err error) {
		// The kernel gives out one buffer of the device's at a time, 4 KiB: what is there is taken together.
		for n < len(b) {
			k, err := unix.Read(fd, b[n:])
			if k <= 0 {
				if n > 0 {
					return n, nil // an error comes again
				}
				return k, err
			}
			n += k
		}
		return n, nil
	})
}

// Write waits while no host is connected or it does not read.
func (p *port) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		n, err := p.do(false, func(fd int) (int, error) { return unix.Write(fd, b[written:]) })
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (p *port) do(read bool, f func(fd int) (int, error)) (n int, err error) {
	raw, err := p.f.SyscallConn()
	if err != nil {
		return 0, os.ErrClosed
	}
	wait := raw.Write
	if read {
		wait = raw.Read
	}
	var errno error
	err = wait(func(fd uintptr) bool {
		for {
			if n, errno = f(int(fd)); errno != unix.EINTR {
				break
			}
		}
		return errno != unix.EAGAIN && (n > 0 || errno != nil)
	})
	n = max(n, 0)
	if err != nil {
		return n, err
	}
	if errno == unix.ENODEV { // the device was taken away
		return n, io.EOF
	}
	return n, errno
}

func (p *port) Close() error { return p.f.Close() }
