package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

const (
	// tries and pause bound every wait for the kernel to be done with a device or a mount: ten seconds.
	tries = 200
	pause = 50 * time.Millisecond
)

// mountImage mounts the btrfs in the regular file image, which must be root's, on the directory target. Neither may be
// a link.
func mountImage(image, target string) error {
	err := tryMount(image, target)
	if err == nil {
		return nil
	}
	hint := "'noid doctor' tells more; a container needs CAP_SYS_ADMIN and /dev/loop-control to mount"
	switch {
	case errors.Is(err, unix.ENODEV):
		hint = "use a kernel with btrfs"
	case errors.Is(err, unix.EEXIST):
		hint = "a copy of this volume is mounted, of another home; unmount that first"
	}
	return errs.New(errs.ErrHost, "mounting %s on %s: %w", image, target, err).Hint(hint)
}

func tryMount(image, target string) error {
	f, err := os.OpenFile(image, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if st := info.Sys().(*syscall.Stat_t); !info.Mode().IsRegular() || st.Uid != 0 || st.Mode&0o022 != 0 {
		return errors.New("it is not a file that root alone can write: noid did not make it")
	}
	dir, err := os.OpenFile(target, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	loop, err := attach(f)
	if err != nil {
		return err
	}
	defer loop.Close() // the mount holds it from now on, and its end frees it
	place := fmt.Sprintf("/proc/self/fd/%d", dir.Fd())
	for try := 0; ; try++ {
		// discard: what is deleted in the volume is free again in the home's file system.
		err = unix.Mount(loop.Name(), place, "btrfs", unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID, "discard")
		// EBUSY: an unmount of the same device is not quite over.
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EBUSY) || try == tries {
			break
		}
		time.Sleep(pause)
	}
	if err != nil {
		return err
	}
	return resize(target) // a killed growth may have left the file system smaller than its device
}

// unmount unmounts what is mounted on dir. It waits for users, such as the helper of a VM that has just ended; in the
// end that is errs.ErrBusy.
func unmount(dir string) error {
	for try := 0; ; try++ {
		err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "unmounting", Path: dir, Err: err}
		}
		if try == tries {
			return errs.New(errs.ErrBusy, "%s is in use: a process has files open there, or works there", dir).Hint("'fuser -vm " + dir + "' lists who")
		}
		time.Sleep(pause)
	}
}

// attach returns an open loop device over the file image: the one that it has, else a new one. The kernel frees it
// when its last user, such as a mount, is gone.
func attach(image *os.File) (*os.File, error) {
	if loop, err := loopOf(image); err != nil || loop != nil {
		return loop, err
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for try := 0; ; try++ {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, os.NewSyscallError("LOOP_CTL_GET_FREE", err)
		}
		loop, err := os.OpenFile("/dev/loop"+strconv.Itoa(n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = configure(loop, image)
		if err == nil {
			return loop, nil
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) || try == tries { // EBUSY: somebody else was faster
			return nil, os.NewSyscallError("LOOP_CONFIGURE", err)
		}
	}
}

// configure binds loop to image. Direct I/O keeps the volume's pages from being cached twice; not every file system has
// it.
func configure(loop, image *os.File) error {
	c := unix.LoopConfig{Fd: uint32(image.Fd())}
	copy(c.Info.File_name[:len(c.Info.File_name)-1], image.Name()) // for losetup(8) alone
	c.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
	err := unix.IoctlLoopConfigure(int(loop.Fd()), &c)
	if errors.Is(err, unix.EINVAL) {
		c.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &c)
	}
	return err
}

// loopOf returns the loop device that the file image has, open, or nil.
func loopOf(image *os.File) (*os.File, error) {
	info, err := image.Stat()
	if err != nil {
		return nil, err
	}
	st := info.Sys().(*syscall.Stat_t)
	bound, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	for _, path := range bound {
		loop, err := os.OpenFile("/dev/"+filepath.Base(filepath.Dir(filepath.Dir(path))), os.O_RDWR, 0)
		if err != nil {
			continue // gone, or not for us
		}
		s, err := unix.IoctlLoopGetStatus64(int(loop.Fd()))
		if err == nil && s.Device == st.Dev && s.Inode == st.Ino {
			return loop, nil
		}
		loop.Close()
	}
	return nil, nil
}

// resize makes the btrfs mounted on dir as large as its device.
func resize(dir string) error {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// struct btrfs_ioctl_vol_args and BTRFS_IOC_RESIZE of linux/btrfs.h.
	const btrfsResize = 0x50009403
	args := struct {
		fd   int64
		name [4088]byte
	}{}
	copy(args.name[:], "max")
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), btrfsResize, uintptr(unsafe.Pointer(&args))); errno != 0 {
		return os.NewSyscallError("BTRFS_IOC_RESIZE", errno)
	}
	return nil
}
