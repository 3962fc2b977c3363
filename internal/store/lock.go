package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// LockWait is how long Lock waits for another noid to be done with the VM: longer than most commands take, shorter than
// a user's patience with a hanging one.
const LockWait = 10 * time.Second

// Lock is the right to change one VM, its checkpoints and its staging directories, or to make a VM of that name. It
// ends with the process at the latest.
type Lock struct{ f *os.File }

// Lock waits up to LockWait for the VM name, which need not exist. verb is what the user typed ("checkpoint"), for the
// message that others get: errs.ErrBusy. Locks are not recursive. Who takes a second takes it for
// a name that no VM has, and can be refused it, not be stuck.
//
// The lock is an flock(2) on a file of its own, never deleted: if it were, one process could hold the deleted file and
// another a new one of the same name, both sure to be alone. The file is empty while nobody holds it.
func (h *Home) Lock(ctx context.Context, name, verb string) (*Lock, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	return h.lockWithin(ctx, name, verb, LockWait)
}

func (h *Home) lockWithin(ctx context.Context, name, verb string, wait time.Duration) (*Lock, error) {
	f, err := openLock(filepath.Join(h.LocksDir(), name+".lock"))
	if err != nil {
		return nil, fmt.Errorf("locking vm %q: %w", name, err)
	}
	// A blocking flock cannot be given up when ctx ends, so this asks again and again.
	err = flockWithin(ctx, f, wait)
	if errors.Is(err, errs.ErrBusy) {
		err = busyError(name, f)
		f.Close()
		return nil, err
	} else if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking vm %q: %w", name, err)
	}
	// Who holds it is only for messages: a full disk must not keep anybody from `destroy`.
	f.Truncate(0)
	f.WriteAt(fmt.Appendf(nil, "%d %s\n", os.Getpid(), verb), 0)
	return &Lock{f}, nil
}

func openLock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600) // Go adds O_CLOEXEC
}

// flockWithin takes the exclusive lock of f or returns errs.ErrBusy after wait.
func flockWithin(ctx context.Context, f *os.File, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if time.Now().After(deadline) {
			return errs.ErrBusy
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// busyError names the holder of f as far as it has written itself down.
func busyError(name string, f *os.File) error {
	const hint = "wait for it, or end it, and try again"
	buf := make([]byte, 256)
	n, _ := f.ReadAt(buf, 0)
	pid, verb, _ := strings.Cut(string(bytes.TrimSpace(buf[:n])), " ")
	if _, err := strconv.Atoi(pid); err != nil {
		return errs.WithHint(errs.Mark(fmt.Errorf("vm %q is busy: another noid holds it", name), errs.ErrBusy), hint)
	}
	return errs.WithHint(errs.Mark(fmt.Errorf("vm %q is busy: %q (pid %s) holds it", name, "noid "+verb, pid), errs.ErrBusy), hint)
}

// Unlock gives the VM free. It may be repeated, and called on nil.
func (l *Lock) Unlock() {
	if l == nil || l.f == nil {
		return
	}
	l.f.Truncate(0)
	// LOCK_UN and not Close alone: a child that is between fork and exec this moment has a copy of the descriptor, and
	// would keep the lock until its exec.
	unix.Flock(int(l.f.Fd()), unix.LOCK_UN)
	l.f.Close()
	l.f = nil
}
