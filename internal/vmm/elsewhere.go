package vmm

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// EndingWait is how long a VMM takes at most from the end of its main thread to that of its last.
const EndingWait = 5 * time.Second

// OpenLog opens the console's log of dir as a VMM's stdout and locks it, with an flock that the VMM inherits. The
// kernel gives it free when the VMM ends, however that ends: so it tells whoever shares the home, also from where the
// VMM's pid means nothing, whether the VMM lives. errs.ErrState is that another VMM has it. A link or a FIFO in the
// log's place is refused.
func OpenLog(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, SerialLogFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the console's log: %w", err)
	}
	for began := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case err == unix.EINTR, err == unix.EWOULDBLOCK && time.Since(began) < EndingWait: // one that ends, or held looks
			continue
		case err == unix.EWOULDBLOCK:
			err = errs.New(errs.ErrState, "a VMM elsewhere has it")
		}
		f.Close()
		return nil, fmt.Errorf("locking the console's log: %w", err)
	}
}

// Elsewhere reports whether a VMM runs in dir that this process cannot reach: in another pid namespace, or on another
// host that shares the home. It gives one that is ending up to wait.
func Elsewhere(dir string, wait time.Duration) bool {
	for began := time.Now(); held(dir); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) >= wait {
			return len(FindIn(dir)) == 0
		}
	}
	return false
}

// held reports whether a VMM has the lock of OpenLog.
func held(dir string) bool {
	fd, err := unix.Open(filepath.Join(dir, SerialLogFile), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd) // and with it the lock
	return unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
}
