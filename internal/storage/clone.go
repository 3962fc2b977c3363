// Package storage does what noid needs of a file system: clones, files and directories that appear whole or not at
// all, and removal within a tree.
//
// It knows nothing of VMs. It follows no symbolic link at the last element of a path: a hostile VMM can write in its
// VM's directory.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// Method says how Clone made its copy.
type Method string

// A reflink shares the source's blocks until one of the two is written.
const (
	Reflink Method = "reflink"
	Copy    Method = "copy"
)

// chunk is how many bytes are copied between two looks at the context: some 10 ms of a slow disk.
const chunk = 8 << 20

// Clone makes dst, which must not exist, a copy of the regular file src, with mode 0600. Blocks are shared where the
// file system can do that; else the data is copied and holes stay holes. Nothing is synced. When it fails, dst is
// gone. A full disk is errs.ErrHost; dst there already is errs.ErrExists.
// The length is read once, at the start. A file that shrinks meanwhile is an error.
func Clone(ctx context.Context, dst, src string) (Method, error) {
	return clone(ctx, dst, src, false)
}

// clone is Clone, or CloneCompact.
func clone(ctx context.Context, dst, src string, compact bool) (method Method, err error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("copying %s: %w", src, err)
	}
	in, size, err := openRegular(src)
	if err != nil {
		return "", fmt.Errorf("copying: %w", err)
	}
	defer in.Close()
	// O_EXCL refuses a symbolic link too, even one that points nowhere.
	out, err := os.OpenFile(dst, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", explain(fmt.Errorf("copying %s: %w", src, err), dst)
	}
	defer func() {
		// Close can be the first to tell of a full disk (NFS, quotas).
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			os.Remove(dst)
			err = explain(fmt.Errorf("copying %s to %s: %w", src, dst, err), dst)
		}
	}()
	if compact && fragmented(in, size) {
		return Copy, copySparse(ctx, out, in, size, false) // the kernel's own copy would be a reflink
	}
	return fill(ctx, out, in, size)
}

// fragment is the average extent, in bytes, below which CloneCompact copies. Reflinking an extent takes some 20 µs,
// copying so many bytes not more.
const fragment = 32 << 10

// CloneCompact is Clone that copies a file in very many pieces: that takes no longer, and the copy has few.
func CloneCompact(ctx context.Context, dst, src string) (Method, error) {
	return clone(ctx, dst, src, true)
}

// fragmented reports whether CloneCompact copies f. Up to a thousand extents are always few.
func fragmented(f *os.File, size int64) bool {
	n, err := countExtents(f)
	if err != nil || n <= 1000 {
		return false
	}
	data := int64(0)
	for start, end := range dataRuns(f, size) {
		data += end - start
		n--
	}
	return n > max(1000, int(data/fragment))
}

// Compact defragments f by CloneCompact's measure, while it is in use and mapped. It then shares no blocks with its
// clones. Only btrfs can do that; elsewhere, and when it fails, f stays as it is.
func Compact(f *os.File) {
	info, err := f.Stat()
	if err != nil || !fragmented(f, info.Size()) {
		return
	}
	// BTRFS_IOC_DEFRAG_RANGE and its struct of linux/btrfs.h.
	const defragRange = 0x40309410
	args := struct {
		start, length, flags  uint64
		extentThreshold, comp uint32
		_                     [4]uint32
	}{length: 1<<64 - 1, extentThreshold: 1 << 20} // longer pieces are left alone
	unix.Syscall(unix.SYS_IOCTL, f.Fd(), defragRange, uintptr(unsafe.Pointer(&args)))
}

// CloneInto is Clone into the open file out, which holds no data, and which stays when it fails.
func CloneInto(ctx context.Context, out *os.File, src string) (Method, error) {
	in, size, err := openRegular(src)
	if err != nil {
		return "", fmt.Errorf("copying: %w", err)
	}
	defer in.Close()
	method, err := fill(ctx, out, in, size)
	if err != nil {
		err = explain(fmt.Errorf("copying %s to %s: %w", src, out.Name(), err), out.Name())
	}
	return method, err
}

// fill makes the empty file out as the first size bytes of in.
func fill(ctx context.Context, out, in *os.File, size int64) (Method, error) {
	err := retry(func() error { return unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) })
	switch {
	case err == nil:
		// FICLONE clones to the end of the source as it is now, which may lie past the length looked at before.
		return Reflink, out.Truncate(size)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EIO):
		return "", err
	}
	// All else (EOPNOTSUPP, EXDEV, EINVAL, ENOTTY, EPERM of a filter …) only says that this is no place for reflinks.
	return Copy, copySparse(ctx, out, in, size, true)
}

// openRegular opens a regular file for reading and returns its length. O_NONBLOCK: a FIFO in its place must not
// block.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, 0, fmt.Errorf("%s is a symbolic link", path)
	} else if errors.Is(err, os.ErrNotExist) {
		return nil, 0, errs.Mark(err, errs.ErrNotFound)
	} else if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// copySparse copies the first size bytes of in to the empty file out, data only; inside the kernel if that may be.
func copySparse(ctx context.Context, out, in *os.File, size int64, inKernel bool) error {
	if err := out.Truncate(size); err != nil {
		return err
	}
	c := copier{out: out, in: in, inKernel: inKernel}
	return eachRun(ctx, in, size, func(start, end int64) error {
		for start < end {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := c.copy(start, min(chunk, end-start))
			if err != nil {
				return err
			}
			start += n
		}
		return nil
	})
}

// dataRuns yields the runs of data of the first size bytes of f, by SEEK_DATA. Where the file system cannot tell, all
// is data.
func dataRuns(f *os.File, size int64) iter.Seq2[int64, int64] {
	return func(yield func(start, end int64) bool) {
		for off := int64(0); off < size; {
			start, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
			if errors.Is(err, unix.ENXIO) || start >= size {
				return // nothing but a hole is left
			}
			end := size
			if err != nil {
				start = off
			} else if hole, err := unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE); err == nil && hole > start { // else: punched meanwhile
				end = min(hole, size)
			}
			if !yield(start, end) {
				return
			}
			off = end
		}
	}
}

// copier copies ranges inside the kernel for as long as the kernel does it.
type copier struct {
	out, in  *os.File
	inKernel bool
	buf      []byte
}

// copy copies up to n bytes at off and returns how many, never 0 without an error.
func (c *copier) copy(off, n int64) (int64, error) {
	if c.inKernel {
		from, to := off, off
		var done int
		err := retry(func() (err error) {
			done, err = unix.CopyFileRange(int(c.in.Fd()), &from, int(c.out.Fd()), &to, int(n), 0)
			return err
		})
		switch {
		case err == nil && done > 0:
			return int64(done), nil
		case err == nil, // 0 bytes where data was promised: some file systems answer that for "cannot"
			errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL),
			errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPERM):
			c.inKernel = false
		default:
			return 0, err
		}
	}
	if c.buf == nil {
		c.buf = make([]byte, 1<<20)
	}
	done, err := c.in.ReadAt(c.buf[:min(n, int64(len(c.buf)))], off)
	if done == 0 {
		if err == io.EOF {
			err = fmt.Errorf("%s became shorter while it was copied", c.in.Name())
		}
		return 0, err
	}
	if _, err := c.out.WriteAt(c.buf[:done], off); err != nil {
		return 0, err
	}
	return int64(done), nil
}

// retry calls f until no signal interrupts it: Go's own preemption signals interrupt slow ioctls.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// explain gives err, met while writing path, its kind and the cure.
func explain(err error, path string) error {
	switch {
	case errors.Is(err, errs.ErrHost): // explained already
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return full(err, filepath.Dir(path), 0)
	case errors.Is(err, os.ErrExist):
		return errs.Mark(err, errs.ErrExists)
	case errors.Is(err, unix.EROFS):
		return errs.Mark(err, errs.ErrHost)
	}
	return err
}

// FullHint is the cure for a full disk.
const FullHint = "make room there, with 'noid image prune', 'noid forget' or 'noid destroy', or put NOID_HOME on a larger file system"

// full adds numbers and the cure to the error of a full disk under dir. need is how many bytes were wanted there, 0
// if unknown.
func full(err error, dir string, need int64) error {
	err = fmt.Errorf("%w (in %s)", err, dir)
	if need > 0 {
		err = fmt.Errorf("%w, %d MiB needed", err, (need+1<<20-1)>>20)
	}
	if free, freeErr := Free(dir); freeErr == nil {
		err = fmt.Errorf("%w, %d MiB free", err, free>>20)
	}
	return errs.WithHint(errs.Mark(err, errs.ErrHost), FullHint)
}
