package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Reserve gives every hole in the first size bytes of the regular file path blocks of its own. A write there cannot
// run out of space then. Through a mapping a full disk is SIGBUS. Clone still knows reserved blocks from data.
// It reports whether it did. It does nothing where files share blocks, since a shared block needs a new one when it
// is written, and on file systems other than ext4 and XFS. A full disk is errs.ErrHost, and the file has its holes
// back.
func Reserve(ctx context.Context, path string, size int64) (bool, error) {
	dir := filepath.Dir(path)
	switch FSType(dir) {
	case "ext4":
	case "xfs":
		if shares, err := Reflinks(dir); err != nil || shares {
			return false, err
		}
	default:
		return false, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, fmt.Errorf("reserving space: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return false, fmt.Errorf("reserving space: %w", err)
	} else if !info.Mode().IsRegular() {
		return false, fmt.Errorf("reserving space: %s is not a regular file", path)
	}
	// Looked at first: fallocate on a full disk takes all there is before it fails, from other VMs too.
	data := int64(0)
	for start, end := range dataRuns(f, size) {
		data += end - start
	}
	// fallocate on a full disk takes all there is before it fails, from other VMs too.
	if free, err := FreeFor(ctx, dir, size-data); err == nil && free < size-data {
		return false, full(fmt.Errorf("reserving space for %s: %w", path, unix.ENOSPC), dir, size-data)
	}
	err = retry(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS): // ext3, which ext4 mounts too
		return false, nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return false, errors.Join(full(fmt.Errorf("reserving space for %s: %w", path, err), dir, size-data), punch(f, size))
	}
	return false, fmt.Errorf("reserving space for %s: %w", path, err)
}

// punch frees what a failed reservation took: all that SEEK_DATA calls a hole.
func punch(f *os.File, size int64) error {
	hole := func(from, to int64) error {
		if from == to {
			return nil
		}
		err := retry(func() error {
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
		})
		if err != nil {
			return fmt.Errorf("giving space back: %w", err)
		}
		return nil
	}
	last := int64(0)
	for start, end := range dataRuns(f, size) {
		if err := hole(last, start); err != nil {
			return err
		}
		last = end
	}
	return hole(last, size)
}

// DataBytes returns how many bytes of the regular file path are data and not holes: the size of a sparse copy. A file
// with reserved blocks is written back for that.
func DataBytes(ctx context.Context, path string) (data int64, err error) {
	f, size, err := openRegular(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	err = eachRun(ctx, f, size, func(start, end int64) error {
		data += end - start
		return nil
	})
	return data, err
}
