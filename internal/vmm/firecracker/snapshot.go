package firecracker

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/vmm"
)

const (
	// snapshotTimeout bounds the writing of all guest memory to disk and its fsync.
	snapshotTimeout = 15 * time.Minute
	// snapshotGrace is how long a cancelled Snapshot still waits. Firecracker cannot be told to stop, and answers nobody
	// else meanwhile: without it, the caller's next word to the VM would find it deaf.
	snapshotGrace = 10 * time.Second
)

// WriteBack implements vmm.Snapshotter. Memory has no file to write back; the disk's dirty pages would be flushed while the
// guest stands still.
func (d *Driver) WriteBack(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := vmm.OpenIn(dir, vmm.RootfsFile, unix.O_RDONLY)
	if err != nil {
		return fmt.Errorf("writing back the disk: %w", err)
	}
	defer f.Close()
	done := make(chan error, 1)
	go func() { done <- unix.Fsync(int(f.Fd())) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		<-done // a descriptor in use is not to be closed; fsync itself ends
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("writing back the disk: %w", err)
	}
	return nil
}

// Snapshot implements vmm.Snapshotter with a Full snapshot. What it wrote when it fails, it removes.
func (d *Driver) Snapshot(ctx context.Context, dir, dst string) error {
	memory, state := filepath.Join(dst, vmm.MemorySnap), filepath.Join(dst, vmm.StateSnap)
	for _, path := range []string{memory, state} {
		// Firecracker would truncate it, and another VM may be running on that very inode.
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("writing the snapshot: %s: %w", path, errs.ErrExists)
		} else if !os.IsNotExist(err) {
			return fmt.Errorf("writing the snapshot: %w", err)
		}
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
	err = c.call(patient, snapshotTimeout, http.MethodPut, "/snapshot/create",
		snapshotCreate{SnapshotType: "Full", SnapshotPath: state, MemFilePath: memory}, nil)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		os.Remove(memory)
		os.Remove(state)
		return fmt.Errorf("writing the snapshot: %w", err)
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
