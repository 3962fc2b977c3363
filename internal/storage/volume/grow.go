package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
)

const (
	// firstMax bounds the size of a new volume. It costs nothing while it is empty, but promises what others may take.
	firstMax = 16 << 30
	// firstMin is what a new volume has free at least.
	firstMin = 512 << 20
	// hostReserve is what noid leaves free in the home's file system when it makes a volume or lets one grow.
	hostReserve = 1 << 30
	// lowMax is the free space below which a volume grows, if a quarter of its size is not less.
	lowMax = 2 << 30
	// growMin is the least growth worth the trouble.
	growMin = 64 << 20
	// hostLow is the free space of the home's file system below which no more is put into a volume that it may have no
	// room for.
	hostLow = 256 << 20
)

// Room lets the volume of the home in dir, if it has one, grow before a command fills it: as root, and while the
// home's file system has space. It costs a handful of system calls. A volume that stays full is told where it is met.
// errs.ErrHost is that the file system around the volume is full: btrfs does not survive a full device unharmed.
func Room(dir string) error {
	if !Exists(dir) {
		return nil
	}
	u, err := Look(dir)
	if err != nil {
		return nil
	}
	if u.HostFree < hostLow && u.Size-u.Taken > u.HostFree {
		return errs.New(errs.ErrHost, "the file system of %s has %d MiB free, too little for the volume in it: %w", dir, u.HostFree>>20, unix.ENOSPC).Hint("make room beside the volume, or in it, with 'noid image prune', 'noid forget' or 'noid destroy'")
	}
	if size := grown(u); size > 0 && os.Geteuid() == 0 {
		grow(dir, size) // not being able to is no failure
	}
	return nil
}

// grown returns the size that a volume of this usage should grow to, or 0 for no growth.
func grown(u Usage) int64 {
	if u.Free >= max(u.Size/4, lowMax) {
		return 0
	}
	spare := u.HostFree - max(0, u.Size-u.Taken) - hostReserve // what nobody was promised
	more := min(u.Size/2, spare) &^ (1<<20 - 1)
	if more < growMin {
		return 0
	}
	return u.Size + more
}

// grow makes the volume's file, device and file system size bytes large, unless another noid does that already.
func grow(dir string, size int64) error {
	image, err := os.OpenFile(filepath.Join(dir, imageFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer image.Close()
	if err := unix.Flock(int(image.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	info, err := image.Stat()
	if err != nil {
		return err
	}
	if info.Size() < size {
		if err := image.Truncate(size); err != nil {
			return err
		}
	}
	loop, err := loopOf(image)
	if err != nil {
		return err
	}
	if loop == nil {
		return errors.New("the volume has no loop device")
	}
	defer loop.Close()
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		return os.NewSyscallError("LOOP_SET_CAPACITY", err)
	}
	return resize(filepath.Join(dir, storageDir))
}

// firstSize returns the size of a new volume for need bytes, in a file system with free bytes free. errs.ErrHost is
// that it does not fit.
func firstSize(dir string, need, free int64) (int64, error) {
	size := max(min(firstMax, (free+need)/5*4), need+need/4+firstMin) &^ (1<<20 - 1)
	if free-need < hostReserve {
		return 0, noRoom(dir, need+hostReserve, free)
	}
	return size, nil
}

func noRoom(dir string, need, free int64) error {
	err := fmt.Errorf("moving the storage needs %d MiB in %s, which has %d MiB free: %w", (need+1<<20-1)>>20, dir, free>>20, syscall.ENOSPC)
	return errs.WithHint(errs.Mark(err, errs.ErrHost), storage.FullHint)
}
