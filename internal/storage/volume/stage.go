package volume

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"noid/internal/errs"
	"noid/internal/storage"
)

// stageVolume makes in workDir a volume with everything that is to be in it, and toVolume.
func stageVolume(ctx context.Context, dir, mkfs string) error {
	oldStorage, oldImages := filepath.Join(dir, storageDir), filepath.Join(dir, imagesDir)
	if info, err := os.Lstat(oldStorage); err != nil {
		return err
	} else if !info.IsDir() || mounted(dir) {
		return errs.New(errs.ErrState, "%s is a link, or a file system of its own", oldStorage)
	}
	if info, err := os.Lstat(oldImages); err == nil && !info.IsDir() {
		oldImages = "" // the user has put it elsewhere
	}
	need, err := treeSize(ctx, oldStorage, oldImages)
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
	if err := stageDirs(dir, oldImages != ""); err != nil {
		return err
	}
	image, mnt := inWork(dir, imageFile), inWork(dir, asideMount)
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
	if err := c.copy(filepath.Join(mnt, imagesDir), oldImages, ""); err != nil {
		return err
	}
	if err := errors.Join(chownLike(dir, mnt), os.Chmod(mnt, 0o700), storage.SyncFS(mnt)); err != nil {
		return err
	}
	if err := unmount(mnt); err != nil {
		return err
	}
	return storage.SyncFS(dir)
}

// stageDirs makes in workDir a place to mount the new image, and toVolume: a mount point, and a link if images moves
// too.
func stageDirs(dir string, withImages bool) error {
	if err := os.MkdirAll(inWork(dir, asideMount), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(inWork(dir, toVolume), 0o700); err != nil {
		return err
	}
	if err := makeMountPoint(dir, filepath.Join(inWork(dir, toVolume), storageDir)); err != nil || !withImages {
		return err
	}
	link := filepath.Join(inWork(dir, toVolume), imagesDir)
	if err := os.Symlink(imagesLink, link); err != nil {
		return err
	}
	return chownLike(dir, link)
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
	from, to := filepath.Join(dir, storageDir), inWork(dir, toPlain)
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
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	leave := ""
	c := copier{ctx: ctx, names: map[inode]string{}}
	if text, err := os.Readlink(filepath.Join(dir, imagesDir)); err == nil && text == imagesLink {
		leave = imagesDir
		if err := c.copy(filepath.Join(to, imagesDir), filepath.Join(from, imagesDir), ""); err != nil {
			return err
		}
	}
	if err := c.copy(filepath.Join(to, storageDir), from, leave); err != nil {
		return err
	}
	return storage.SyncFS(dir)
}
