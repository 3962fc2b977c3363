package console

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// LockInput locks the console's input of the VM in dir until unlock is called. No line of noid's is then half way to
// the guest, where a checkpoint would cut it in the VMM's own buffer. LockInput waits until ctx ends. While a guest
// boots, Exec keeps the lock for up to a second.
func LockInput(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := lockFile(ctx, filepath.Join(dir, inputLockFile))
	if err != nil {
		return nil, fmt.Errorf("locking the console's input: %w", err)
	}
	return func() { f.Close() }, nil
}

// lockFile creates path if need be and takes an exclusive flock on it, which closing the file releases. It polls, since
// a blocking flock cannot be interrupted by ctx.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	for pause := pollMin; ; pause = min(2*pause, pollMax) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, err
		}
		if err := sleep(ctx, pause); err != nil {
			f.Close()
			return nil, err
		}
	}
}

// sleep waits for d or for ctx's end, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
