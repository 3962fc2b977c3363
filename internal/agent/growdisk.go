package agent

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// growWait is how long GrowDisk waits for the kernel to hear of the disk's new size.
const growWait = 10 * time.Second

// GrowDisk has the ext4 of the VM's own disk fill it, once the disk has the length that args name, in bytes. It may be
// repeated. It needs no directory that the disk is mounted on: of an overlay, the guest has none.
func GrowDisk(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("one length is needed")
	}
	length, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	name := ownDisk()
	if name == "" {
		return fmt.Errorf("there is no disk")
	}
	var size int64
	for deadline := time.Now().Add(growWait); ; time.Sleep(10 * time.Millisecond) {
		sectors, err := strconv.ParseInt(readSys("block/"+name+"/size"), 10, 64)
		if err != nil {
			return err
		}
		if size = sectors * 512; size >= length { // sectors are of 512 bytes, always
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the kernel sees a disk of %d bytes, not of %d", size, length)
		}
	}
	mount, err := mountExt4("/dev/" + name)
	if err != nil {
		return fmt.Errorf("mounting the disk: %w", err)
	}
	defer unix.Close(mount)
	// Where the disk is new it reads as zeros: the kernel is to write none to its inode tables, neither now, as it would
	// with noinit_itable, nor later.
	if err := remount(mount, "init_itable"); err != nil {
		return fmt.Errorf("preparing the file system: %w", err)
	}
	defer remount(mount, "noinit_itable")
	return resizeExt4(mount, size)
}

// ownDisk returns the name of the disk that can be written.
func ownDisk() string { return diskThat("0") }

// diskThat returns the name of the first disk of which the kernel says ro, "1" for one that can only be read.
func diskThat(ro string) string {
	entries, _ := os.ReadDir("/sys/block")
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "vd") && readSys("block/"+e.Name()+"/ro") == ro {
			return e.Name()
		}
	}
	return ""
}

// mountExt4 mounts the ext4 on device, which is mounted elsewhere, once more and nowhere.
func mountExt4(device string, options ...string) (int, error) {
	fs, err := unix.Fsopen("ext4", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	err = unix.FsconfigSetString(fs, "source", device)
	for _, option := range options {
		err = cmp.Or(err, unix.FsconfigSetFlag(fs, option))
	}
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
}

// remount sets an option of a mounted file system.
func remount(mount int, option string) error {
	fs, err := unix.Fspick(mount, "", unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fs)
	if err = unix.FsconfigSetFlag(fs, option); err == nil {
		err = unix.FsconfigReconfigure(fs)
	}
	return err
}

// resizeExt4 grows the file system to size bytes.
func resizeExt4(mount int, size int64) error {
	dir, err := unix.Openat(mount, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	var st unix.Statfs_t
	if err := unix.Fstatfs(dir, &st); err != nil {
		return err
	}
	const resizeFS = 0x40086610 // EXT4_IOC_RESIZE_FS of linux/ext4.h
	blocks := uint64(size) / uint64(st.Bsize)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(dir), resizeFS, uintptr(unsafe.Pointer(&blocks))); errno != 0 {
		return fmt.Errorf("growing the file system: %w", errno)
	}
	return nil
}
