package agent

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
)

// The agent must work in a guest without /dev/null, /sys or /dev/pts, and in one whose init mounts over them at any
// time. What is missing it mounts for itself, on no path: see login.Private.

var (
	privateTmp = &login.Private{FSType: "tmpfs"}
	privateSys = &login.Private{FSType: "sysfs"}
)

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
	fd, err := privateTmp.Open(node, flags|unix.O_NOCTTY)
	if err == unix.ENOENT {
		if err := unix.Mknodat(privateTmp.Root(), node, unix.S_IFCHR|0o600, int(dev)); err != nil && err != unix.EEXIST {
			return -1, fmt.Errorf("making device %s: %w", name, err)
		}
		fd, err = privateTmp.Open(node, flags|unix.O_NOCTTY)
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
	fd, err := privateSys.Open(name, unix.O_RDONLY)
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
