package tarfs

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxKernelFile is how many bytes Create takes of a file that the kernel makes up: its length is none or a lie, and
// /proc/kcore does not end.
const maxKernelFile = 16 << 20

// maxNamed bounds the directories that one warning names.
const maxNamed = 10

// kernelMagics are the file systems that show the kernel's own state. What they hold cannot be put back, and some of it
// has no end.
var kernelMagics = []uint32{
	unix.AUTOFS_SUPER_MAGIC, unix.BINDERFS_SUPER_MAGIC, unix.BINFMTFS_MAGIC, unix.BPF_FS_MAGIC, unix.CGROUP_SUPER_MAGIC,
	unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.EFIVARFS_MAGIC, unix.HUGETLBFS_MAGIC,
	unix.NSFS_MAGIC, unix.PROC_SUPER_MAGIC, unix.PSTOREFS_MAGIC, unix.RDTGROUP_SUPER_MAGIC, unix.SECURITYFS_MAGIC,
	unix.SELINUX_MAGIC, unix.SMACK_MAGIC, unix.SYSFS_MAGIC, unix.TRACEFS_MAGIC, unix.XENFS_SUPER_MAGIC,
	0x62656570, // configfs
	0x65735543, // fusectl
	0x19800202, // mqueue
	0x67596969, // rpc_pipefs
}

// kernelFile reports whether f is in one of them.
func kernelFile(f *os.File) bool {
	var st unix.Statfs_t
	err := error(unix.EBADF)
	control(f, func(fd int) { err = unix.Fstatfs(fd, &st) })
	return err == nil && slices.Contains(kernelMagics, uint32(st.Type))
}

// kernelMount reports whether dir, where a file system is mounted, is one of them, or /dev: devtmpfs says that it is a
// tmpfs, but nobody else has a device for null at its top.
func kernelMount(dir *os.Root) bool {
	f, err := dir.Open(".")
	if err != nil {
		return false
	}
	defer f.Close()
	if kernelFile(f) {
		return true
	}
	null, err := dir.Lstat("null")
	return err == nil && null.Mode()&fs.ModeCharDevice != 0 && null.Sys().(*syscall.Stat_t).Rdev == unix.Mkdev(1, 3)
}

// device is the file system that a file is in.
func device(fi fs.FileInfo) uint64 { return uint64(fi.Sys().(*syscall.Stat_t).Dev) }

// leaveOut notes a directory that is sent without its content.
func (c *creator) leaveOut(name string) {
	if c.kernels = append(c.kernels, fmt.Sprintf("%q", name)); len(c.kernels) > maxNamed {
		c.kernels = append(c.kernels[:maxNamed], "others")
	}
}

// sayLeftOut warns of all of them at once. They are no failure: nobody can copy them.
func (c *creator) sayLeftOut() {
	if len(c.kernels) > 0 && c.warn != nil {
		c.warn("left out what the kernel shows in " + strings.Join(c.kernels, ", "))
	}
}

// control calls do with f's descriptor, and leaves f as it is.
func control(f *os.File, do func(fd int)) {
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { do(int(fd)) })
	}
}
