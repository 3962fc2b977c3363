package vmm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
	"noid/internal/untrusted"
)

// Remove removes files of dir that need not be there.
func Remove(dir string, names ...string) error {
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// CheckMemory refuses, with an errs.ErrState, a dir/memory.snap that is no plain file as long as a guest's memory of
// memMiB: VMMs load a longer one, another machine's say, without a word.
func CheckMemory(dir string, memMiB int) error {
	path := filepath.Join(dir, MemorySnap)
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("opening saved memory: %w", err)
	}
	if want := int64(memMiB) << 20; !info.Mode().IsRegular() || info.Size() != want {
		return errs.New(errs.ErrState, "%s is damaged: it is no plain file of %d bytes (%d MiB), but %s of %d",
			path, want, memMiB, info.Mode(), info.Size())
	}
	return nil
}

// WriteBack has files of dir on disk, and in few pieces: they are cloned while the guest stands still.
func WriteBack(ctx context.Context, dir string, names ...string) error {
	for _, name := range names {
		f, err := untrusted.Open(dir, name, unix.O_RDWR)
		if err != nil {
			return fmt.Errorf("writing back: %w", err)
		}
		storage.Compact(f)
		err = storage.Sync(ctx, f)
		f.Close()
		if err != nil {
			return fmt.Errorf("writing back %s: %w", name, err)
		}
	}
	return nil
}

// WithLog adds to err the end of logFile, a VMM's log in dir.
func WithLog(err error, dir, logFile string) error {
	if log := untrusted.Tail(filepath.Join(dir, logFile), 2000); len(log) > 0 {
		return fmt.Errorf("%w: %s says: %s", err, logFile, untrusted.End(log, 2000))
	}
	return err
}
