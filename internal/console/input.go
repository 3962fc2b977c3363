package console

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/vmm"
)

// input is the writing end of serial.in. It uses the bare descriptor: os.File would park a full FIFO's writer in the
// runtime's poller, where neither ctx nor a dead VM would be noticed.
type input struct{ fd int }

// openInput opens the FIFO for writing. The error wraps errs.ErrState when no VMM reads it.
func openInput(dir string) (*input, error) {
	path := filepath.Join(dir, vmm.SerialInFile)
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENXIO) {
		return nil, errNotRunning
	} else if err != nil {
		return nil, fmt.Errorf("opening the console's input: %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		unix.Close(fd)
		return nil, fmt.Errorf("opening the console's input: %s is not a FIFO", path)
	}
	return &input{fd}, nil
}

// hasReader reports whether some process has serial.in open for reading.
func hasReader(dir string) bool {
	in, err := openInput(dir)
	if err != nil {
		return false
	}
	in.Close()
	return true
}

// open opens both ends of the console of the VM in dir.
func open(dir string) (*input, *tail, error) {
	in, err := openInput(dir)
	if err != nil {
		return nil, nil, err
	}
	log, err := openTail(logPath(dir))
	if err != nil {
		in.Close()
		return nil, nil, fmt.Errorf("opening the console's log: %w", err)
	}
	return in, log, nil
}

func (in *input) Close() error { return unix.Close(in.fd) }

// send writes all of data, waiting while the FIFO is full: until ctx ends, until the deadline (if it is not zero;
// errs.ErrTimeout) or until the VMM is gone (errs.ErrState).
func (in *input) send(ctx context.Context, data []byte, deadline time.Time) error {
	for len(data) > 0 {
		n, err := unix.Write(in.fd, data)
		switch {
		case err == nil:
			data = data[n:]
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EPIPE):
			return errNotRunning
		case !errors.Is(err, unix.EAGAIN):
			return fmt.Errorf("writing to the console: %w", err)
		}
		if !deadline.IsZero() && time.Now().After(deadline) {
			return errs.New(errs.ErrTimeout, "the guest does not read its console")
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// pending is the number of bytes in the FIFO that the VMM has not taken yet.
func (in *input) pending() int {
	n, _ := unix.IoctlGetInt(in.fd, unix.TIOCINQ) // FIONREAD by its other name
	return n
}
