package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// The agent must work in a guest without /dev/null, /sys or /dev/pts, and in one whose init mounts over them at any
// time. What is missing it mounts for itself, on no path: fsmount(2) (Linux 5.2) gives a descriptor of a mount that
// only the agent sees.

// private is a file system of the agent's own, mounted when it is first needed.
type private struct {
	fstype string
	once   sync.Once
	root   int
	err    error
}

var (
	privateTmp = &private{fstype: "tmpfs"}
	privatePts = &private{fstype: "devpts"}
	privateSys = &private{fstype: "sysfs"}
)

func (p *private) open(name string, flags int) (int, error) {
	p.once.Do(func() { p.root, p.err = mountDetached(p.fstype) })
	if p.err != nil {
		return -1, p.err
	}
	return unix.Openat(p.root, name, flags|unix.O_CLOEXEC, 0)
}

// mountDetached returns a descriptor of a new mount. An option is a word or KEY=VALUE.
func mountDetached(fstype string, options ...string) (int, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mounting a %s: %w", fstype, err)
	}
	defer unix.Close(fs)
	for _, o := range options {
		if key, value, has := strings.Cut(o, "="); has {
			err = errors.Join(err, unix.FsconfigSetString(fs, key, value))
		} else {
			err = errors.Join(err, unix.FsconfigSetFlag(fs, key))
		}
	}
	fd := -1
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err == nil {
		fd, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("mounting a %s: %w", fstype, err)
	}
	return fd, nil
}

// openDevice opens the character device with these numbers: by its name in /dev if that is what it is there, else
// through a node of the agent's own.
func openDevice(name string, major, minor uint32, flags int) (int, error) {
	dev := unix.Mkdev(major, minor)
	if fd, err := unix.Open("/dev/"+name, flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0); err == nil {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == dev {
			return fd, nil
		}
		unix.Close(fd)
	}
	// The open makes the mount, whether there is a node already or not.
	node := fmt.Sprintf("%d-%d", major, minor)
	fd, err := privateTmp.open(node, flags|unix.O_NOCTTY)
	if err == unix.ENOENT {
		if err := unix.Mknodat(privateTmp.root, node, unix.S_IFCHR|0o600, int(dev)); err != nil && err != unix.EEXIST {
			return -1, fmt.Errorf("making device %s: %w", name, err)
		}
		fd, err = privateTmp.open(node, flags|unix.O_NOCTTY)
	}
	if err != nil {
		return -1, fmt.Errorf("opening device %s: %w", name, err)
	}
	return fd, nil
}

// openSys opens a file below /sys, or below a sysfs of the agent's own.
func openSys(name string) (*os.File, error) {
	if f, err := os.Open("/sys/" + name); err == nil {
		return f, nil
	}
	fd, err := privateSys.open(name, unix.O_RDONLY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/sys/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// readSys returns the trimmed content of a file below /sys, "" if it cannot be read.
func readSys(name string) string {
	f, err := openSys(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, 4<<10))
	return strings.TrimSpace(string(data))
}

// listSys returns the names in a directory below /sys.
func listSys(name string) []string {
	f, err := openSys(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(1024)
	return names
}

// readBounded reads a file of at most limit bytes; what is longer is cut.
func readBounded(path string, limit int64) (string, error) {
	// A FIFO in the place of a file must not hold the agent up.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return "", fmt.Errorf("%s: not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	return string(data), err
}
