package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// Names in workDir. A move to the volume stages image, mountPoint and link, and one rename of image to its place decides: from
// then on settle brings the rest to its place, and before, discard removes all. A move back stages plainStorage and
// plainImages, and the file undo decides.
const (
	newImage     = "image"
	asideMount   = "mnt"           // where the new image is mounted to be filled
	mountPoint   = "mount-point"   // to become storage
	link         = "link"          // to become images
	plainStorage = "plain-storage" // to become storage
	plainImages  = "plain-images"  // to become images
	undo         = "undo"          // what is plain is complete: the volume is to go
	oldSuffix    = ".old"          // what was in the place of one that has moved there
)

// Make moves the storage of home h into a new volume. verb is what the user typed. mkfs is the path of mkfs.btrfs. A home that
// has a volume is left as it is. VMs that run are errs.ErrState; not being root, and a host without space, loop devices or
// btrfs, is errs.ErrHost. When it fails, or ctx ends, the home is as it was; when it is killed, the next command finds the home
// as it was or completes the move.
func Make(ctx context.Context, h *home.Home, verb, mkfs string) error {
	lock, err := lockStopped(ctx, h, verb)
	if err != nil {
		return fmt.Errorf("moving the storage to a btrfs volume: %w", err)
	}
	defer lock.Unlock()
	if Exists(h.Dir()) {
		return nil
	}
	if err := stageVolume(ctx, h.Dir(), mkfs); err != nil {
		return errors.Join(fmt.Errorf("moving the storage to a btrfs volume: %w", err), discard(h.Dir()))
	}
	return commit(ctx, h.Dir(), func() error {
		return os.Rename(filepath.Join(h.Dir(), workDir, newImage), filepath.Join(h.Dir(), imageFile))
	})
}

// Unmake moves everything out of the volume of home h, if it has one, and deletes the volume. Otherwise as Make.
func Unmake(ctx context.Context, h *home.Home, verb string) error {
	if !Exists(h.Dir()) && !exists(filepath.Join(h.Dir(), workDir)) {
		return nil // whoever asks, and whatever runs
	}
	lock, err := lockStopped(ctx, h, verb)
	if err != nil {
		return fmt.Errorf("moving the storage out of its volume: %w", err)
	}
	defer lock.Unlock()
	dir := h.Dir()
	if !Exists(dir) {
		return discard(dir)
	}
	if err := settle(ctx, dir); err != nil {
		return err
	}
	err = stagePlain(ctx, dir)
	if err == nil {
		err = unmount(filepath.Join(dir, storageDir))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("moving the storage out of its volume: %w", err), discard(dir))
	}
	return commit(ctx, dir, func() error {
		return storage.WriteFile(filepath.Join(dir, workDir, undo), nil, 0o600)
	})
}

// commit makes what is staged in dir final by decide, and brings it to its place.
func commit(ctx context.Context, dir string, decide func() error) error {
	err := decide()
	if err == nil {
		err = storage.SyncDir(dir)
	}
	// Whether decide took effect or not, this brings the home into one of its two states.
	return errors.Join(err, settle(context.WithoutCancel(ctx), dir))
}

// lockStopped takes the lock of all of h, whose VMs must all be stopped.
func lockStopped(ctx context.Context, h *home.Home, verb string) (*home.Lock, error) {
	if os.Geteuid() != 0 {
		return nil, errs.New(errs.ErrHost, "only root can mount file systems").Hint(Sudo(h.Dir(), verb))
	}
	lock, err := home.LockAll(ctx, h.Dir(), verb, home.LockWait)
	if err != nil {
		return nil, err
	}
	running, err := live(h)
	if err == nil && len(running) > 0 {
		err = errs.New(errs.ErrState, "these VMs are not stopped: %s", strings.Join(running, ", ")).Hint("'noid stop NAME' each of them first")
	}
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	return lock, nil
}

// live returns the names in h of what a VMM works in: VMs, and what killed commands left.
func live(h *home.Home) (names []string, err error) {
	entries, err := os.ReadDir(h.VMsDir())
	for _, e := range entries {
		v, loadErr := h.LoadVM(e.Name())
		if loadErr == nil && v.Process.Alive() || len(vmm.FindIn(h.VMDir(e.Name()))) > 0 {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// stageVolume makes in workDir a volume with everything that is to be in it, and what is to become storage and images.
func stageVolume(ctx context.Context, dir, mkfs string) error {
	if err := discard(dir); err != nil {
		return err
	}
	oldStorage, oldImages := filepath.Join(dir, storageDir), filepath.Join(dir, imagesDir)
	if info, err := os.Lstat(oldStorage); err != nil {
		return err
	} else if !info.IsDir() || mounted(dir) {
		return errs.New(errs.ErrState, "%s is a link, or a file system of its own", oldStorage)
	}
	trees := []string{oldStorage}
	moveImages := true
	if info, err := os.Lstat(oldImages); err == nil && !info.IsDir() {
		moveImages = false // the user has put it elsewhere
	} else {
		trees = append(trees, oldImages)
	}
	need, err := treeSize(ctx, trees...)
	if err != nil {
		return err
	}
	free, err := storage.FreeFor(ctx, dir, need+hostReserve)
	if err != nil {
		return err
	}
	size, err := firstSize(dir, need, free)
	if err != nil {
		return err
	}
	uid, gid, err := owner(dir)
	if err != nil {
		return err
	}
	work := filepath.Join(dir, workDir)
	image, mnt := filepath.Join(work, newImage), filepath.Join(work, asideMount)
	if err := os.MkdirAll(mnt, 0o700); err != nil {
		return err
	}
	if err := makeImage(ctx, image, size, mkfs); err != nil {
		return err
	}
	if err := mountImage(image, mnt); err != nil {
		return err
	}
	c := copier{ctx: ctx, names: map[inode]string{}}
	if err := c.copy(mnt, oldStorage, ""); err != nil {
		return err
	}
	if moveImages {
		if err := c.copy(filepath.Join(mnt, imagesDir), oldImages, ""); err != nil {
			return err
		}
		if err := os.Symlink(imagesLink, filepath.Join(work, link)); err != nil {
			return err
		}
		if err := os.Lchown(filepath.Join(work, link), uid, gid); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Lchown(mnt, uid, gid), os.Chmod(mnt, 0o700)); err != nil {
		return err
	}
	if err := makeMountPoint(filepath.Join(work, mountPoint), uid, gid); err != nil {
		return err
	}
	if err := storage.SyncFS(mnt); err != nil {
		return err
	}
	if err := unmount(mnt); err != nil {
		return err
	}
	return storage.SyncFS(dir)
}

// makeImage makes path a sparse file of size bytes with a new btrfs in it.
func makeImage(ctx context.Context, path string, size int64, mkfs string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, mkfs, "-q", "-L", "noid", path)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return errs.New(errs.ErrHost, "%s: %w: %s", filepath.Base(mkfs), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// stagePlain makes in workDir what is to become storage and images without the volume, which is mounted.
func stagePlain(ctx context.Context, dir string) error {
	from, work := filepath.Join(dir, storageDir), filepath.Join(dir, workDir)
	need, err := treeSize(ctx, from)
	if err != nil {
		return err
	}
	free, err := storage.FreeFor(ctx, dir, need)
	if err != nil {
		return err
	}
	if free < need {
		return noRoom(dir, need, free)
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	leave := ""
	c := copier{ctx: ctx, names: map[inode]string{}}
	if text, err := os.Readlink(filepath.Join(dir, imagesDir)); err == nil && text == imagesLink {
		leave = imagesDir
		if err := c.copy(filepath.Join(work, plainImages), filepath.Join(from, imagesDir), ""); err != nil {
			return err
		}
	}
	if err := c.copy(filepath.Join(work, plainStorage), from, leave); err != nil {
		return err
	}
	return storage.SyncFS(dir)
}

// settle brings the home in dir, which has a volume or is about to lose it, into order: what is staged and decided goes to its
// place, the volume is mounted, and what is left over is removed. It may be killed and repeated. Hold LockAll.
func settle(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	target := filepath.Join(dir, storageDir)
	switch {
	case !Exists(dir):
		return discard(dir)
	case exists(filepath.Join(dir, workDir, undo)):
		if mounted(dir) {
			if err := unmount(target); err != nil {
				return err
			}
		}
		if err := errors.Join(place(dir, plainStorage, storageDir), place(dir, plainImages, imagesDir)); err != nil {
			return fmt.Errorf("moving the storage out of its volume: %w", err)
		}
		if err := os.Remove(filepath.Join(dir, imageFile)); err != nil {
			return err
		}
		if err := storage.SyncDir(dir); err != nil {
			return err
		}
		return discard(dir)
	}
	if err := errors.Join(place(dir, mountPoint, storageDir), place(dir, link, imagesDir)); err != nil {
		return fmt.Errorf("moving the storage to a btrfs volume: %w", err)
	}
	if !mounted(dir) {
		if !isMountPoint(target) {
			err := fmt.Errorf("%s has a volume, %s, and yet files in %s itself", dir, imageFile, storageDir)
			return errs.WithHint(errs.Mark(err, errs.ErrState), "one of the two is a copy of the other, or of an older home: move it away")
		}
		if err := mountImage(filepath.Join(dir, imageFile), target); err != nil {
			return err
		}
	}
	return discard(dir)
}

// place renames what is staged as name in workDir, if it is still there, to final in the home; what was there goes the other way.
func place(dir, name, final string) error {
	staged, path := filepath.Join(dir, workDir, name), filepath.Join(dir, final)
	if !exists(staged) {
		return nil
	}
	if exists(path) {
		if err := os.Rename(path, staged+oldSuffix); err != nil {
			return err
		}
	}
	if err := os.Rename(staged, path); err != nil {
		return err
	}
	return errors.Join(storage.SyncDir(dir), storage.SyncDir(filepath.Join(dir, workDir)))
}

// discard removes workDir: what a move has left that was given up, or is over.
func discard(dir string) error {
	work := filepath.Join(dir, workDir)
	if mnt := filepath.Join(work, asideMount); crosses(work, mnt) {
		if err := unmount(mnt); err != nil {
			return err
		}
	}
	return storage.RemoveAll(work)
}

// Tidy removes what a killed move has left in the home h, as root.
func Tidy(ctx context.Context, h *home.Home) error {
	if os.Geteuid() != 0 || !exists(filepath.Join(h.Dir(), workDir)) {
		return nil
	}
	lock, err := home.LockAll(ctx, h.Dir(), "setup", home.LockWait)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return settle(ctx, h.Dir())
}
