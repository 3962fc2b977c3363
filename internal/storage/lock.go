package storage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// LockPath opens the file or directory path with flags and waits for its lock, an flock(2) that ends with the process.
// Who had it may have renamed or removed path: what is locked is what has that name now.
func LockPath(ctx context.Context, path string, flags int) (*os.File, error) {
	for {
		f, err := TryLockPath(path, flags)
		if !errors.Is(err, errs.ErrBusy) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond): // a blocking flock would not end with ctx
		}
	}
}

// TryLockPath is LockPath that does not wait. errs.ErrBusy is another holder.
func TryLockPath(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	err = retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) || err == nil && !IsAt(f, path) {
		err = errs.New(errs.ErrBusy, "%s is busy", path)
	} else if err != nil {
		err = &fs.PathError{Op: "flock", Path: path, Err: err}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// IsAt reports whether f is the file path still.
func IsAt(f *os.File, path string) bool {
	a, err := f.Stat()
	b, err2 := os.Lstat(path)
	return err == nil && err2 == nil && os.SameFile(a, b)
}

// Unlock gives the lock of f free and closes it.
func Unlock(f *os.File) {
	// LOCK_UN and not Close alone: a child that is between fork and exec this moment has a copy of the descriptor, and
	// would keep the lock until its exec.
	unix.Flock(int(f.Fd()), unix.LOCK_UN)
	f.Close()
}
