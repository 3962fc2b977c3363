//go:build linux

package main

import (
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Words of the kernel's command line with which noid says what there is: package vmm writes them.
const (
	layersWord = "noid.base" // the root is the own disk over a read-only base
	growWord   = "noid.grow" // the own disk's file system may be smaller than the disk
)

// Where the two disks are mounted until the new root is whole. Nothing of the guest sees them there: the root keeps
// what it needs of them.
const (
	baseDir = "/base"
	ownDir  = "/own"
	// What the own disk has: the upper and the work directory of overlayfs, and the directories that are bound.
	upperDir = ownDir + "/upper"
	workDir  = ownDir + "/work"
	boundDir = ownDir + "/bound"
)

// overlayOptions are why what programs do in the guest works as on one file system. redirect_dir: a directory of the
// base can be renamed. index: names of one file stay names of one file when it is written. metacopy: chown and chmod
// copy no data. xino: each file has an inode number of its own for good, and all are on one device.
const overlayOptions = "redirect_dir=on,index=on,metacopy=on,xino=auto"

// noZeros has the kernel write no zeros to the inode tables of a disk, 16 MiB for each GiB: where noid's disks have
// nothing, they read as zeros. While the file system grows it must not hold: the kernel would write them at once.
const noZeros = "noinit_itable"

// mountLayers mounts the own disk and the base and makes the root of both.
func mountLayers(readOnly bool) error {
	unix.Mkdir(baseDir, 0o700)
	unix.Mkdir(ownDir, 0o700)
	own, base, err := awaitDisks()
	if err == nil {
		err = mountDisk("/dev/"+own, ownDir, 0)
	}
	if err == nil {
		err = mountDisk("/dev/"+base, baseDir, unix.MS_RDONLY)
	}
	if err == nil {
		err = makeUpper()
	}
	if err != nil {
		return err
	}
	grow(own, ownDir)
	flags := uintptr(0)
	if readOnly {
		flags = unix.MS_RDONLY
	}
	err = unix.Mount("overlay", newRoot, "overlay", flags, "lowerdir="+baseDir+",upperdir="+upperDir+",workdir="+workDir+","+overlayOptions)
	switch {
	case err == unix.ENODEV:
		return failure{"mounting the root: the kernel has no overlayfs; 'noid create --flat' does without", err}
	case err != nil:
		for _, line := range kernelSays("overlayfs") {
			say(line)
		}
		return failure{"mounting the root as an overlay", err}
	}
	if !readOnly {
		bindData()
	}
	for _, dir := range []string{baseDir, ownDir} {
		unix.Unmount(dir, unix.MNT_DETACH)
		unix.Rmdir(dir)
	}
	return nil
}

// awaitDisks waits for the two disks and returns their names. The base is the one that cannot be written: a VMM's order
// of devices need not be the kernel's.
func awaitDisks() (own, base string, err error) {
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if own, base = disks("/sys/block/"); own != "" && base != "" {
			return own, base, nil
		}
		if time.Since(start) > rootWait {
			return "", "", failure{"waiting for the disk and its base: the kernel has no driver for virtio disks, or found one alone", unix.ENOENT}
		}
	}
}

func disks(sysBlock string) (own, base string) {
	for _, name := range list(sysBlock) {
		switch {
		case !strings.HasPrefix(name, "vd"):
		case strings.TrimSpace(readFile(sysBlock+name+"/ro")) == "1":
			base = name
		default:
			own = name
		}
	}
	return own, base
}

// makeUpper makes what overlayfs needs of a new own disk. The root has the owner and the mode of the upper directory:
// they are the base's.
func makeUpper() error {
	var root unix.Stat_t
	if err := unix.Stat(baseDir, &root); err != nil {
		return failure{"looking at the base", err}
	}
	if !exists(upperDir) {
		const unfinished = upperDir + ".new"
		unix.Mkdir(unfinished, 0o755) // it may be there
		err := unix.Chown(unfinished, int(root.Uid), int(root.Gid))
		if err == nil {
			err = unix.Chmod(unfinished, root.Mode&0o7777)
		}
		if err == nil {
			err = unix.Rename(unfinished, upperDir)
		}
		if err != nil {
			return failure{"preparing the disk", err}
		}
	}
	for _, dir := range []string{workDir, boundDir} {
		if err := unix.Mkdir(dir, 0o711); err != nil && err != unix.EEXIST {
			return failure{"preparing the disk", err}
		}
	}
	return nil
}

// dataDirs are where container engines keep file systems of their own: overlayfs takes no overlay for its upper
// directory. They are in /var/lib.
var dataDirs = []string{"docker", "containerd", "containers", "kubelet"}

// bindData gives each of dataDirs a directory of the own disk itself, where the image has nothing in it. What cannot be
// done is left out: an image without /var/lib has no use for it.
func bindData() {
	root, err := unix.Open(newRoot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(root)
	lib, err := openBelow(root, "var/lib")
	if err != nil {
		return
	}
	defer unix.Close(lib)
	for _, name := range dataDirs {
		unix.Mkdirat(lib, name, 0o711)
		fd, err := openBelow(root, "var/lib/"+name)
		if err != nil {
			continue
		}
		at := "/proc/self/fd/" + strconv.Itoa(fd)
		if source := boundDir + "/" + name; len(list(at)) == 0 {
			unix.Mkdir(source, 0o711)
			if err := unix.Mount(source, at, "", unix.MS_BIND, ""); err != nil {
				say(failure{"binding /var/lib/" + name, err}.Error())
			}
		}
		unix.Close(fd)
	}
}

// openBelow opens a directory of the root. Links in the image lead to where they will in the guest, never out of it.
func openBelow(root int, path string) (int, error) {
	return unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
}

// grow has the ext4 that is mounted on dir fill the disk name. Without it the guest has less room, and boots.
func grow(name, dir string) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var st unix.Statfs_t
	sectors, err := strconv.ParseUint(strings.TrimSpace(readFile("/sys/block/"+name+"/size")), 10, 64) // of 512 bytes
	if err == nil {
		err = unix.Fstatfs(fd, &st)
	}
	if err == nil && st.Bsize > 0 {
		const resizeFS = 0x40086610 // EXT4_IOC_RESIZE_FS of linux/ext4.h
		blocks := sectors * 512 / uint64(st.Bsize)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), resizeFS, uintptr(unsafe.Pointer(&blocks))); errno != 0 {
			err = errno
		}
	}
	if err == nil {
		err = unix.Mount("", dir, "", unix.MS_REMOUNT, noZeros)
	}
	if err != nil {
		say(failure{"growing the file system to the size of its disk", err}.Error())
	}
}
