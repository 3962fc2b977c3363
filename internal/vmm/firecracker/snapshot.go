package firecracker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

const (
	// snapshotTimeout bounds the writing of all guest memory to disk and its fsync.
	snapshotTimeout = 15 * time.Minute
	// snapshotGrace is how long a cancelled Snapshot still waits for the end of a short one. Firecracker cannot be told to
	// stop, and answers nobody else meanwhile.
	snapshotGrace = 300 * time.Millisecond
)

// WriteBack implements vmm.Snapshotter: it makes the file that a Diff is written into, and writes back the disk, which
// Firecracker flushes while the guest stands still.
func (d *Driver) WriteBack(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := untrusted.Open(dir, vmm.RootfsFile, unix.O_RDWR)
	if err != nil {
		return fmt.Errorf("writing back the disk: %w", err)
	}
	defer f.Close()
	storage.Compact(f) // it is cloned while the guest stands still
	if err := storage.Sync(ctx, f); err != nil {
		return fmt.Errorf("writing back the disk: %w", err)
	}
	if err := prepare(ctx, dir); err != nil {
		return fmt.Errorf("preparing the memory's file: %w", err)
	}
	return nil
}

// MemorySource implements vmm.Snapshotter.
func (d *Driver) MemorySource(dir string) string {
	path, _, _ := base(dir)
	return path
}

// Snapshot implements vmm.Snapshotter with a Diff into a clone of the base (see base.go), or a Full snapshot where there is
// none. What it wrote when it fails, it removes, and the next one is Full. Firecracker writes in vmm.NewSnapDir, where alone it
// may make files; they are then moved to dst.
func (d *Driver) Snapshot(ctx context.Context, dir, dst string) (err error) {
	files := []struct{ from, to string }{
		{filepath.Join(dir, vmm.NewMemorySnap), filepath.Join(dst, vmm.MemorySnap)},
		{filepath.Join(dir, vmm.NewStateSnap), filepath.Join(dst, vmm.StateSnap)},
	}
	for _, f := range files {
		if _, err := os.Lstat(f.to); err == nil {
			return fmt.Errorf("writing the snapshot: %s: %w", f.to, errs.ErrExists)
		} else if !os.IsNotExist(err) {
			return fmt.Errorf("writing the snapshot: %w", err)
		}
	}
	kind := "Full"
	if prepared(dir) {
		kind = "Diff"
	} else if err := remove(files[0].from); err != nil { // a Full one would be written over it
		return fmt.Errorf("removing a leftover: %w", err)
	}
	if err := remove(files[1].from); err != nil { // of a noid that was killed
		return fmt.Errorf("removing a leftover: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	c, err := newClient(dir)
	if err != nil {
		return err
	}
	defer c.close()
	patient, cancel := lingering(ctx, snapshotGrace)
	defer cancel()
	moved := 0
	defer func() {
		if err == nil {
			return
		}
		for i, f := range files {
			os.Remove(f.from)
			if i < moved {
				os.Remove(f.to)
			}
		}
		err = fmt.Errorf("writing the snapshot: %w", err)
	}()
	// From here on the dirty pages may be forgotten: an end at any place leaves no base.
	if err := dropBase(dir); err != nil {
		return err
	}
	if err := c.call(patient, snapshotTimeout, http.MethodPut, "/snapshot/create",
		snapshotCreate{SnapshotType: kind, SnapshotPath: vmm.NewStateSnap, MemFilePath: vmm.NewMemorySnap}, nil); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, f := range files {
		moved++ // a copy that failed may have begun
		if err := move(ctx, f.to, f.from); err != nil {
			return err
		}
	}
	setBase(dir, files[0].to) // without one the next is Full
	return nil
}

// move renames what Firecracker wrote, and copies it where dst is on another file system. A guest that took Firecracker over
// may have put anything there: only a plain file with one name is taken, and that is looked at where it can change no more.
func move(ctx context.Context, dst, src string) error {
	err := os.Rename(src, dst)
	if errors.Is(err, unix.EXDEV) {
		if err := single(src); err != nil {
			return err
		}
		if _, err = storage.Clone(ctx, dst, src); err == nil {
			err = os.Remove(src)
		}
	}
	if err != nil {
		return err
	}
	return single(dst)
}

// single refuses anything but a plain file with one name.
func single(path string) error {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Nlink != 1 {
		return fmt.Errorf("firecracker left no plain file at %s", path)
	}
	return nil
}

// lingering is a context that ends grace later than ctx does, and with its cause.
func lingering(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	later, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			end(context.Cause(ctx))
		case <-later.Done():
		}
	})
	return later, func() { stop(); end(nil) }
}
