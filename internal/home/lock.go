package home

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
)

// LockWait is how long Lock waits: longer than most commands take, shorter than a user's patience.
const LockWait = 10 * time.Second

// Lock is the right to change one VM, its checkpoints and its staging directories, or to make a VM of that name. It
// ends with the process.
type Lock struct {
	f    *os.File
	home *os.File // shared: nobody has LockAll meanwhile. Nil in LockAll's own
	of   []string // the directories that f is for: without any of them it is deleted. Nil in LockAll's own
}

// homeLock is the lock of the whole home, in LocksDir: no VM's name begins with a dot. Every Lock holds it shared.
const homeLock = ".home.lock"

// LockAll waits up to wait for the right to change everything in the home in dir, which need not be open. verb is as
// in Lock. errs.ErrBusy is another holder, of a Lock or of this one.
func LockAll(ctx context.Context, dir, verb string, wait time.Duration) (*Lock, error) {
	f, err := lockFile(ctx, filepath.Join(dir, locksDir, homeLock), unix.LOCK_EX, wait, "the home")
	if errors.Is(err, errs.ErrBusy) { // who holds it shared has not written itself down
		return nil, errs.New(errs.ErrBusy, "the home is busy: another noid works in it").Hint(busyHint)
	} else if err != nil {
		return nil, fmt.Errorf("locking the home: %w", err)
	}
	writeHolder(f, verb)
	return &Lock{f: f}, nil
}

// LockShared waits up to LockWait for the right to change what belongs to no VM, such as images. Others may have it too,
// but nobody has LockAll. errs.ErrBusy is that somebody has.
func (h *Home) LockShared(ctx context.Context) (*Lock, error) {
	f, err := lockFile(ctx, filepath.Join(h.LocksDir(), homeLock), unix.LOCK_SH, LockWait, "the home")
	if err != nil {
		return nil, err
	}
	return &Lock{f: f}, nil
}

// Lock waits up to LockWait for the VM name, which need not exist. verb is what the user typed ("checkpoint"), for
// the message that others get: errs.ErrBusy. Locks are not recursive. A second lock must be of a name that no VM has:
// then nobody waits in a circle.
//
// The lock is an flock(2) on a file of its own. Unlock deletes it where there is neither VM nor checkpoint of that
// name. So who gets the lock of a deleted file tries again with the new one. The file is empty while nobody holds it.
func (h *Home) Lock(ctx context.Context, name, verb string) (*Lock, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	return h.lockWithin(ctx, name, verb, LockWait)
}

func (h *Home) lockWithin(ctx context.Context, name, verb string, wait time.Duration) (*Lock, error) {
	start := time.Now()
	home, err := lockFile(ctx, filepath.Join(h.LocksDir(), homeLock), unix.LOCK_SH, wait, "the home")
	if errors.Is(err, os.ErrNotExist) && !h.made {
		return nil, noVM(name)
	} else if err != nil {
		return nil, lockError(name, err)
	}
	f, err := lockFile(ctx, filepath.Join(h.LocksDir(), name+".lock"), unix.LOCK_EX, wait-time.Since(start), fmt.Sprintf("vm %q", name))
	if err != nil {
		storage.Unlock(home)
		return nil, lockError(name, err)
	}
	writeHolder(f, verb)
	return &Lock{f: f, home: home, of: []string{h.VMDir(name), h.CheckpointsDir(name)}}, nil
}

// writeHolder writes the holder into f, for messages alone: a full disk must not stop `destroy`.
func writeHolder(f *os.File, verb string) {
	f.Truncate(0)
	f.WriteAt(fmt.Appendf(nil, "%d %s\n", os.Getpid(), verb), 0)
}

// lockError wraps err, met while locking the vm name, unless it says who holds what.
func lockError(name string, err error) error {
	if errors.Is(err, errs.ErrBusy) {
		return err
	}
	return fmt.Errorf("locking vm %q: %w", name, err)
}

// lockFile opens the file path and locks it; how is LOCK_SH or LOCK_EX. errs.ErrBusy names who holds what for longer
// than wait.
func lockFile(ctx context.Context, path string, how int, wait time.Duration, what string) (*os.File, error) {
	for deadline := time.Now().Add(wait); ; {
		f, err := openLock(path)
		if err != nil {
			return nil, err
		}
		if err = flockWithin(ctx, f, how, time.Until(deadline)); err == nil && storage.IsAt(f, path) {
			return f, nil
		} else if errors.Is(err, errs.ErrBusy) {
			err = busyError(what, f)
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

func openLock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600) // Go adds O_CLOEXEC
}

// flockWithin locks f, or returns errs.ErrBusy after wait. It polls: a blocking flock does not end with ctx.
func flockWithin(ctx context.Context, f *os.File, how int, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
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

const busyHint = "wait for it, or end it, and try again"

// busyError names the holder of f, the lock of what, as far as it has written itself down.
func busyError(what string, f *os.File) error {
	buf := make([]byte, 256)
	n, _ := f.ReadAt(buf, 0)
	pid, verb, _ := strings.Cut(string(bytes.TrimSpace(buf[:n])), " ")
	if _, err := strconv.Atoi(pid); err != nil {
		return errs.New(errs.ErrBusy, "%s is busy: another noid holds it", what).Hint(busyHint)
	}
	return errs.New(errs.ErrBusy, "%s is busy: %q (pid %s) holds it", what, "noid "+verb, pid).Hint(busyHint)
}

// Unlock gives the VM free. It may be repeated, and called on nil.
func (l *Lock) Unlock() {
	if l == nil || l.f == nil {
		return
	}
	l.f.Truncate(0)
	if l.of != nil && !slices.ContainsFunc(l.of, exists) {
		os.Remove(l.f.Name())
	}
	storage.Unlock(l.f)
	l.f = nil
	if l.home != nil {
		storage.Unlock(l.home)
	}
}
