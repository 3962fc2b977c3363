package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// tempPrefix begins the name of every temporary file. In that of a file to be follow the file's name and a dash.
const tempPrefix = ".tmp-"

// RemoveTemp removes the temporary files of killed writers of path. Nobody may be writing it.
func RemoveTemp(path string) {
	dir, prefix := filepath.Dir(path), tempPrefix+filepath.Base(path)+"-"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// SyncFile makes the contents of the regular file path survive a power cut. It ends soon after ctx.
func SyncFile(ctx context.Context, path string) error {
	f, _, err := openRegular(path)
	if err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	defer f.Close()
	return Sync(ctx, f)
}

// Sync is SyncFile for an open file.
func Sync(ctx context.Context, f *os.File) error {
	if err := writePages(ctx, f); err != nil {
		return err
	}
	// An fsync can be what first tells that the disk is full, where blocks are allocated late.
	return explain(f.Sync(), f.Name())
}

// writePages writes the dirty pages of f in pieces, between which it looks at ctx: nothing interrupts an fsync.
func writePages(ctx context.Context, f *os.File) error {
	const ahead = 8 // pieces on their way to the disk while the oldest is waited for: 0.5 s of a slow disk
	var begun []int64
	for off := range dataPieces(f) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("syncing %s: %w", f.Name(), err)
		}
		unix.SyncFileRange(int(f.Fd()), off, piece, unix.SYNC_FILE_RANGE_WRITE)
		if begun = append(begun, off); len(begun) <= ahead {
			continue
		}
		if err := awaitPiece(f, begun[0]); err != nil {
			return err
		}
		begun = begun[1:]
	}
	for _, off := range begun {
		if err := awaitPiece(f, off); err != nil {
			return err
		}
	}
	return nil
}

// awaitPiece waits until the piece of f at off is written. The kernel tells an error once: no fsync tells it again.
func awaitPiece(f *os.File, off int64) error {
	const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	err := retry(func() error { return unix.SyncFileRange(int(f.Fd()), off, piece, wait) })
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return explain(&fs.PathError{Op: "writing back", Path: f.Name(), Err: err}, f.Name())
	}
	return nil // some file systems do not have this call: the fsync does all
}

// piece is how many bytes writePages writes at a time.
const piece = 2 << 20

// dataPieces yields where the pieces of f begin that have data. Their number follows the data, not the length of f: a
// disk may be 500 GiB of holes.
func dataPieces(f *os.File) iter.Seq[int64] {
	return func(yield func(off int64) bool) {
		for off := int64(0); ; off += piece {
			var err error
			if off, err = unix.Seek(int(f.Fd()), off, unix.SEEK_DATA); err != nil || !yield(off) {
				return // ENXIO: nothing but a hole is left
			}
		}
	}
}

// SyncDir makes the names in dir survive a power cut.
func SyncDir(dir string) error {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	defer f.Close()
	// Some file systems (FUSE, 9p) have no fsync for directories: there is nothing to wait for.
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return explain(err, filepath.Join(dir, "."))
	}
	return nil
}

// SyncFS makes all of the file system of path survive a power cut.
func SyncFS(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := retry(func() error { return unix.Syncfs(int(f.Fd())) }); err != nil {
		return explain(&fs.PathError{Op: "syncfs", Path: path, Err: err}, path)
	}
	return nil
}

// WriteFile replaces path by data: after a crash path has all of the old or all of the new. A symbolic link at path
// is replaced, not followed. perm does not depend on the umask.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return WriteNew(path, perm, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// WriteOnce makes path, with what write writes, unless it exists, which is no error: its name must tell what is in
// it. A killed writer leaves nothing where the file system has files without names.
func WriteOnce(path string, perm fs.FileMode, write func(*os.File) error) error {
	dir := filepath.Dir(path)
	f, err := unnamed(dir)
	if err != nil {
		return WriteNew(path, perm, write)
	}
	defer f.Close()
	err = complete(f, perm, write)
	if err == nil {
		// linkat(2) of the descriptor itself would need a capability.
		err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
		if errors.Is(err, unix.EEXIST) {
			err = nil
		}
	}
	if err != nil {
		return explain(fmt.Errorf("writing %s: %w", path, err), path)
	}
	return SyncDir(dir)
}

// complete has write fill f, sets its mode and syncs it.
func complete(f *os.File, perm fs.FileMode, write func(*os.File) error) error {
	err := write(f)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	return err
}

// unnamed makes a file without a name in dir: it is gone when it is closed.
func unnamed(dir string) (*os.File, error) {
	return os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
}

// WriteNew is WriteFile for what write writes. When that fails, path is what it was.
func WriteNew(path string, perm fs.FileMode, write func(*os.File) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, tempPrefix+filepath.Base(path)+"-")
	if err != nil {
		return explain(fmt.Errorf("writing %s: %w", path, err), path)
	}
	err = complete(f, perm, write)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = SyncDir(dir)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return explain(fmt.Errorf("writing %s: %w", path, err), path)
	}
	return nil
}

// Finish makes the file path read-only and has its data written, so that its blocks are allocated. It returns what the
// file is from now on, and the bytes of disk that it takes, shared ones included. Publish syncs it.
func Finish(ctx context.Context, path string) (info fs.FileInfo, onDisk int64, err error) {
	f, _, err := openRegular(path)
	if err != nil {
		return nil, 0, fmt.Errorf("finishing: %w", err)
	}
	defer f.Close()
	if err = f.Chmod(0o400); err == nil {
		err = writePages(ctx, f)
	}
	if err == nil {
		info, err = f.Stat()
	}
	if err != nil {
		return nil, 0, err
	}
	return info, diskBytes(info), nil
}

// Publish renames the finished directory tmpDir to finalDir, in the same file system. Its regular files, one level
// deep, are synced before, the new name before Publish returns. Large ones have been through Finish: nothing interrupts
// an fsync. An existing finalDir is errs.ErrExists and untouched.
// When it fails, tmpDir has its old name.
func Publish(ctx context.Context, tmpDir, finalDir string) error {
	if err := syncTree(ctx, tmpDir); err != nil {
		return fmt.Errorf("publishing %s: %w", finalDir, err)
	}
	if err := renameNew(tmpDir, finalDir); err != nil {
		return fmt.Errorf("publishing: %w", explain(err, finalDir))
	}
	if err := SyncDir(filepath.Dir(finalDir)); err != nil {
		return errors.Join(fmt.Errorf("publishing %s: %w", finalDir, err), os.Rename(finalDir, tmpDir))
	}
	return nil
}

// syncTree makes dir and its regular files, one level deep, survive a power cut. It syncs one after the other: btrfs
// has those who sync at the same time wait for each other, some ticks long on a rotating disk.
func syncTree(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			if err := syncWritten(ctx, filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return SyncDir(dir)
}

// syncWritten is SyncFile for a file of which few pages are dirty.
func syncWritten(ctx context.Context, path string) error {
	f, _, err := openRegular(path)
	if err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	defer f.Close()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("syncing %s: %w", path, err)
	}
	return explain(f.Sync(), path)
}

// renameNew renames a to b, which must not exist.
func renameNew(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// A file system without the flag (NFS, some FUSE). The gap between look and rename matters little: noid holds
		// the lock of the VM, and rename(2) itself refuses to replace a directory that is not empty.
		if _, statErr := os.Lstat(b); statErr == nil {
			err = unix.EEXIST
		} else {
			err = unix.Rename(a, b)
		}
	}
	if errors.Is(err, unix.ENOTEMPTY) {
		err = unix.EEXIST
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: a, New: b, Err: err}
	}
	return nil
}

// Exchange swaps what a and b name, atomically where the file system can do that, and syncs it. Elsewhere a is
// missing for a moment. A failure puts things back.
func Exchange(a, b string) error {
	err := exchange(a, b)
	if errors.Is(err, os.ErrNotExist) {
		err = errs.Mark(err, errs.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("exchanging %s and %s: %w", a, b, err)
	}
	err = SyncDir(filepath.Dir(a))
	if err == nil && filepath.Dir(a) != filepath.Dir(b) {
		err = SyncDir(filepath.Dir(b))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("exchanging %s and %s: %w", a, b, err), exchange(a, b))
	}
	return nil
}

func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		err = exchangeSlowly(a, b)
	}
	return err
}

func exchangeSlowly(a, b string) error {
	if _, err := os.Lstat(b); err != nil {
		return err
	}
	aside := filepath.Join(filepath.Dir(b), tempPrefix+rand.Text())
	if err := os.Rename(a, aside); err != nil {
		return err
	}
	if err := os.Rename(b, a); err != nil {
		return errors.Join(err, os.Rename(aside, a))
	}
	if err := os.Rename(aside, b); err != nil {
		return errors.Join(err, os.Rename(a, b), os.Rename(aside, a))
	}
	return nil
}
