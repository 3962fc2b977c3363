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
	"noid/internal/vmm"
)

const (
	// snapshotTimeout bounds the writing of all guest memory to disk and its fsync.
	snapshotTimeout = 15 * time.Minute
	// snapshotGrace is how long a cancelled Snapshot still waits for the end of a short one. Firecracker cannot be told
	// to stop, and answers nobody else meanwhile.
	snapshotGrace = 300 * time.Millisecond
)

// WriteBack implements vmm.Driver: it makes the file that a Diff is written into, and writes back the disk, which
// Firecracker flushes while the guest stands still.
func (d *Driver) WriteBack(ctx context.Context, dir string, memory bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := vmm.WriteBack(ctx, dir, vmm.RootfsFile); err != nil {
		return err
	}
	if !memory {
		if _, own := ownBase(dir); own || prepared(dir) {
			return nil
		}
	}
	if err := prepare(ctx, dir); err != nil {
		return fmt.Errorf("preparing the memory's file: %w", err)
	}
	return nil
}

// MemorySource implements vmm.Driver.
func (d *Driver) MemorySource(dir string) string {
	path, _, _ := base(dir)
	return path
}

// Snapshot implements vmm.Driver with a Diff into a clone of the base (see base.go), or a Full snapshot where there is
// none. Without memory the Diff goes into the base itself, if that is the VM's own, and what was written is the next
// base, and the VM's own. What it wrote when it fails, it removes, and the next one is Full. Firecracker writes in
// newSnapDir, where alone it may make files; they are then moved to dst.
func (d *Driver) Snapshot(ctx context.Context, dir, dst string, memory bool) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing the snapshot: %w", err)
		}
	}()
	for _, name := range []string{vmm.MemorySnap, vmm.StateSnap} {
		to := filepath.Join(dst, name)
		if _, err := os.Lstat(to); err == nil {
			return errs.New(errs.ErrExists, "%s already exists", to)
		} else if !os.IsNotExist(err) {
			return err
		}
	}
	kind, stale := "Full", d.Scratch() // of a noid that was killed: a Full one would be written over it
	own, inPlace := ownBase(dir)
	inPlace = inPlace && !memory
	switch {
	case inPlace:
		kind = "Diff"
	case prepared(dir):
		kind, stale = "Diff", []string{newStateSnap}
	}
	if err := vmm.Remove(dir, stale...); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// From here on the dirty pages may be forgotten: an end at any place leaves no base.
	if inPlace {
		if err := os.Rename(own, filepath.Join(dir, newMemorySnap)); err != nil {
			return err
		}
	}
	if err := dropBase(dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			vmm.Remove(dir, d.Scratch()...)
		}
	}()
	if err := create(ctx, dir, kind); err != nil {
		return err
	}
	if memory {
		return moveNew(ctx, dir, dst)
	}
	state := filepath.Join(dst, vmm.StateSnap)
	if err = move(ctx, state, filepath.Join(dir, newStateSnap)); err == nil {
		err = keepNew(dir)
	}
	if err != nil {
		vmm.Remove(dst, vmm.StateSnap)
	}
	return err
}

// create has the Firecracker of dir write a snapshot to newSnapDir.
func create(ctx context.Context, dir, kind string) error {
	c := newClient(dir)
	defer c.close()
	patient, cancel := lingering(ctx, snapshotGrace)
	defer cancel()
	if err := c.call(patient, snapshotTimeout, http.MethodPut, "/snapshot/create",
		snapshotCreate{SnapshotType: kind, SnapshotPath: newStateSnap, MemFilePath: newMemorySnap}, nil); err != nil {
		return err
	}
	return ctx.Err()
}

// moveNew moves the snapshot in newSnapDir to dst and makes its memory the base. When it fails, dst is as it was.
func moveNew(ctx context.Context, dir, dst string) error {
	memory, state := filepath.Join(dst, vmm.MemorySnap), filepath.Join(dst, vmm.StateSnap)
	err := move(ctx, memory, filepath.Join(dir, newMemorySnap))
	if err == nil {
		err = move(ctx, state, filepath.Join(dir, newStateSnap))
	}
	if err != nil {
		vmm.Remove(dst, vmm.MemorySnap, vmm.StateSnap) // neither was there
		return err
	}
	setBase(dir, memory) // without one the next is Full
	return nil
}

// move renames what Firecracker wrote, and copies it where dst is on another file system. A guest that took Firecracker
// over may have put anything there: only a plain file with one name is taken, and that is looked at where it can change
// no more.
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
