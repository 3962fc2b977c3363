// Package volume gives a home whose file system cannot share blocks one that can: a btrfs file system in a sparse file
// of the home, mounted over the home's storage directory. It makes that file, mounts it when it is not mounted (a mount
// is gone with each reboot), lets it grow, and moves everything in and out of it.
//
//	$NOID_HOME/storage.btrfs   the file; a home that has it has a volume, whatever config.toml says
//	$NOID_HOME/storage/        where it is mounted. Below lies a directory in which nothing can be made, see makeMountPoint
//	$NOID_HOME/images          a link to storage/images: 'create' shares the blocks of the root file system
//	$NOID_HOME/.volume/        a move that is under way, or was killed
//
// Only root can mount. The file is root's, for the kernel's sake: root mounts no file system that somebody else has
// made up. What is in it belongs to the owner of the home.
package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/shell"
	"noid/internal/storage"
)

const (
	imageFile  = home.VolumeFile
	storageDir = home.StorageDir
	imagesDir  = home.ImagesDir // in the home, and in the volume
	workDir    = home.VolumeWork
)

// imagesLink is what the home's images is a link to, relative so that a home may be moved.
const imagesLink = storageDir + "/" + imagesDir

// mountWait is how long a command waits for another one that mounts the volume, or ends a move.
const mountWait = 30 * time.Second

// Exists reports whether the home in dir has a volume, mounted or not.
func Exists(dir string) bool { return exists(filepath.Join(dir, imageFile)) }

// Ready mounts the volume of the home in dir, if it has one that is not mounted, and ends a move that was killed.
// Every command calls it before it looks at the home; without a volume it costs one system call. errs.ErrHost tells
// who is not root what to type. verb is what the user typed.
func Ready(ctx context.Context, dir, verb string) error {
	if !Exists(dir) {
		return nil
	}
	isMounted, wait := mounted(dir), mountWait
	switch {
	case isMounted && (os.Geteuid() != 0 || !exists(inWork(dir, ""))):
		return nil
	case isMounted: // what is left of a move can wait; or one is under way
		wait = 0
	case os.Geteuid() != 0:
		return errs.New(errs.ErrHost, "the btrfs volume of %s is not mounted, and only root can mount it", dir).
			Hint(Sudo(dir, "config set storage btrfs") + " mounts it, until the next reboot")
	}
	err := recoverLocked(ctx, dir, verb, wait)
	if isMounted && errors.Is(err, errs.ErrBusy) {
		return nil
	} else if err != nil {
		return fmt.Errorf("mounting the volume: %w", err)
	}
	return nil
}

// Tidy removes what a killed move has left in the home h, as root.
func Tidy(ctx context.Context, h *home.Home) error {
	if os.Geteuid() != 0 || !exists(inWork(h.Dir(), "")) {
		return nil
	}
	return recoverLocked(ctx, h.Dir(), "setup", home.LockWait)
}

func recoverLocked(ctx context.Context, dir, verb string, wait time.Duration) error {
	lock, err := home.LockAll(ctx, dir, verb, wait)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return recoverMove(ctx, dir)
}

// Missing returns an error, errs.ErrHost, if the home in dir had a volume and its file is gone.
func Missing(dir string) error {
	if Exists(dir) || !isMountPoint(filepath.Join(dir, storageDir)) {
		return nil
	}
	return errs.New(errs.ErrHost, "the btrfs volume of %s is gone: there is no %s in it", dir, imageFile).Hint("put the file back; to do without what was in it, remove " + filepath.Join(dir, storageDir) + " and the link " + filepath.Join(dir, imagesDir))
}

// Sudo is the command line by which an ordinary user runs noid with args, as root, on the home in dir, between
// backquotes.
func Sudo(dir, args string) string {
	return "`sudo NOID_HOME=" + shell.Quote(dir) + " noid " + args + "`"
}

// Usage is how large a volume is and what is left. All in bytes.
type Usage struct {
	Size     int64 // of the file system
	Free     int64 // in the file system
	Taken    int64 // by its file, of the home's file system
	HostFree int64 // in the home's file system
}

// Look returns the usage of the mounted volume of the home in dir.
func Look(dir string) (u Usage, err error) {
	var st unix.Statfs_t
	mnt := filepath.Join(dir, storageDir)
	if err := unix.Statfs(mnt, &st); err != nil {
		return u, &fs.PathError{Op: "statfs", Path: mnt, Err: err}
	}
	u.Size = int64(st.Blocks) * st.Bsize
	if u.Free, err = storage.Free(mnt); err != nil {
		return u, err
	}
	if _, u.Taken, err = storage.Usage(filepath.Join(dir, imageFile)); err != nil {
		return u, err
	}
	u.HostFree, err = storage.Free(dir)
	return u, err
}

// mounted reports whether something is mounted on the home's storage directory. It looks at the directory itself: a
// home may be renamed while its volume is mounted.
func mounted(dir string) bool {
	return crosses(dir, filepath.Join(dir, storageDir))
}

// crosses reports whether sub, a directory in dir and not a link to one, is of another file system than dir.
func crosses(dir, sub string) bool {
	a, err := os.Lstat(dir)
	if err == nil && a.Mode().Type() == os.ModeSymlink {
		a, err = os.Stat(dir) // the home itself may be reached by a link
	}
	b, err2 := os.Lstat(sub)
	return err == nil && err2 == nil && b.IsDir() && a.Sys().(*syscall.Stat_t).Dev != b.Sys().(*syscall.Stat_t).Dev
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// chownLike gives path, not what it may be a link to, to the owner of the home in dir.
func chownLike(dir, path string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	return os.Lchown(path, int(st.Uid), int(st.Gid))
}

const blockedText = "This directory is empty because the btrfs volume of this noid home is not mounted on it: 'noid config set storage btrfs', as root, mounts it.\n"

// makeMountPoint makes path a mount point for the volume of the home in dir. Regular files have the names of noid's
// own directories there: nobody, root included, makes VMs below an unmounted volume.
func makeMountPoint(dir, path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	for _, name := range home.VolumeNames {
		file := filepath.Join(path, name)
		if err := storage.WriteFile(file, []byte(blockedText), 0o400); err != nil {
			return err
		}
		if err := chownLike(dir, file); err != nil {
			return err
		}
	}
	return chownLike(dir, path)
}

// isMountPoint reports whether makeMountPoint made dir, and nothing is mounted on it.
func isMountPoint(dir string) bool {
	info, err := os.Lstat(filepath.Join(dir, home.VolumeNames[0]))
	return err == nil && info.Mode().IsRegular()
}
