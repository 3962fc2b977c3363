package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// Names in workDir. A move stages the storage and images that the home is to have in one of the three directories. One
// rename decides: to the volume that of the new image to its place in the home, back from it that of toPlain to
// decided. From then on recoverMove brings what is staged to its place, and may be killed and repeated. Before, discard
// removes it.
const (
	toVolume   = "to-volume" // a mount point, and a link for images
	toPlain    = "to-plain"  // copies of what is in the volume
	decided    = "decided"   // toPlain when it is complete: the volume is to go
	replaced   = "replaced-" // and the name in the home: what was in the place of it
	asideMount = "mnt"       // where the new image is mounted to be filled
)

// Make moves the storage of home h into a new volume. verb is what the user typed. mkfs is the path of mkfs.btrfs. A
// home that has a volume is left as it is. VMs that run are errs.ErrState; not being root, and a host without space,
// loop devices or btrfs, is errs.ErrHost. When it fails, or ctx ends, the home is as it was; when it is killed, the
// next command finds the home as it was or completes the move.
func Make(ctx context.Context, h *home.Home, verb, mkfs string) error {
	err := withStopped(ctx, h, verb, func(dir string) error {
		if Exists(dir) {
			return nil
		}
		if err := errors.Join(discard(dir), ctx.Err()); err != nil {
			return err
		}
		if err := stageVolume(ctx, dir, mkfs); err != nil {
			return errors.Join(err, discard(dir))
		}
		return commit(ctx, dir, inWork(dir, imageFile), filepath.Join(dir, imageFile))
	})
	if err != nil {
		return fmt.Errorf("moving the storage to a btrfs volume: %w", err)
	}
	return nil
}

// Unmake moves everything out of the volume of home h, if it has one, and deletes the volume. Otherwise as Make.
func Unmake(ctx context.Context, h *home.Home, verb string) error {
	if !Exists(h.Dir()) && !exists(inWork(h.Dir(), "")) {
		return nil // whoever asks, and whatever runs
	}
	err := withStopped(ctx, h, verb, func(dir string) error {
		if err := recoverMove(ctx, dir); err != nil || !Exists(dir) {
			return err
		}
		err := stagePlain(ctx, dir)
		if err == nil {
			err = unmount(filepath.Join(dir, storageDir))
		}
		if err != nil {
			return errors.Join(err, discard(dir))
		}
		return commit(ctx, dir, inWork(dir, toPlain), inWork(dir, decided))
	})
	if err != nil {
		return fmt.Errorf("moving the storage out of its volume: %w", err)
	}
	return nil
}

func inWork(dir, name string) string { return filepath.Join(dir, workDir, name) }

// commit decides a move in dir by the rename of from to to, and brings what is staged to its place.
func commit(ctx context.Context, dir, from, to string) error {
	err := os.Rename(from, to)
	if err == nil {
		err = storage.SyncDir(filepath.Dir(to))
	}
	// Whether the rename took effect or not, this brings the home into one of its two states.
	return errors.Join(err, recoverMove(context.WithoutCancel(ctx), dir))
}

// withStopped calls f under the lock of all of h, whose VMs must all be stopped.
func withStopped(ctx context.Context, h *home.Home, verb string, f func(dir string) error) error {
	if os.Geteuid() != 0 {
		return errs.New(errs.ErrHost, "only root can mount file systems").Hint(Sudo(h.Dir(), verb))
	}
	lock, err := home.LockAll(ctx, h.Dir(), verb, home.LockWait)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	running, err := live(h)
	if err == nil && len(running) > 0 {
		err = errs.New(errs.ErrState, "these VMs are not stopped: %s", strings.Join(running, ", ")).Hint("'noid stop NAME' each of them first")
	}
	if err != nil {
		return err
	}
	return f(h.Dir())
}

// live returns the names in h of what a VMM works in: VMs, and what killed commands left.
func live(h *home.Home) (names []string, err error) {
	entries, err := os.ReadDir(h.VMsDir())
	for _, e := range entries {
		v, loadErr := h.LoadVM(e.Name())
		dir := h.VMDir(e.Name())
		if loadErr == nil && v.Process.Alive() || len(vmm.FindIn(dir)) > 0 || vmm.Elsewhere(dir, vmm.EndingWait) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// recoverMove brings the home in dir into order: what is staged and decided goes to its place, a volume that stays is
// mounted, and what is left over is removed. It may be killed and repeated. Hold LockAll.
func recoverMove(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !Exists(dir) {
		return discard(dir)
	}
	target, image := filepath.Join(dir, storageDir), filepath.Join(dir, imageFile)
	staged, back := toVolume, exists(inWork(dir, decided))
	if back {
		staged = decided
		if mounted(dir) {
			if err := unmount(target); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(place(dir, staged, storageDir), place(dir, staged, imagesDir)); err != nil {
		return err
	}
	switch {
	case back:
		if err := os.Remove(image); err != nil {
			return err
		}
		if err := storage.SyncDir(dir); err != nil {
			return err
		}
	case !mounted(dir):
		if !isMountPoint(target) {
			return errs.New(errs.ErrState, "%s has a volume, %s, and yet files in %s itself", dir, imageFile, storageDir).
				Hint("one of the two is a copy of the other, or of an older home: move it away")
		}
		if err := mountImage(image, target); err != nil {
			return err
		}
	}
	return discard(dir)
}

// place renames name in the directory staged, if it is still there, to name in the home. What was there goes to
// workDir.
func place(dir, staged, name string) error {
	from, to := inWork(dir, filepath.Join(staged, name)), filepath.Join(dir, name)
	if !exists(from) {
		return nil
	}
	if exists(to) {
		if err := os.Rename(to, inWork(dir, replaced+name)); err != nil {
			return err
		}
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(storage.SyncDir(dir), storage.SyncDir(inWork(dir, "")))
}

// discard removes workDir: what a move has left that was given up, or is over.
func discard(dir string) error {
	if mnt := inWork(dir, asideMount); crosses(inWork(dir, ""), mnt) {
		if err := unmount(mnt); err != nil {
			return err
		}
	}
	return storage.RemoveAll(inWork(dir, ""))
}
