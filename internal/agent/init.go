package agent

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
)

// What PID 1 mounts where nothing is mounted yet, in this order.
var mounts = []struct {
	dir, fstype string
	flags       uintptr
	data        string
}{
	{"/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
	{"/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0620,ptmxmode=0666"},
	{"/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
}

// writable are the directories that programs must be able to write to, with their modes. An image may have files there.
var writable = []struct {
	dir  string
	mode uint32
}{{"/tmp", 0o1777}, {"/run", 0o755}}

// becomeInit mounts what a system needs, and returns a channel that says when to go down. A root that is read-only or
// bare gets what it has a place for.
func becomeInit() <-chan os.Signal {
	down := make(chan os.Signal, 1)
	signal.Notify(down, unix.SIGTERM, unix.SIGINT, unix.SIGPWR)
	for _, m := range mounts {
		if !login.IsDir(m.dir) && os.Mkdir(m.dir, 0o755) != nil {
			continue
		}
		if isMountPoint(m.dir) {
			continue
		}
		unix.Mount(m.fstype, m.dir, m.fstype, m.flags, m.data)
	}
	for _, w := range writable {
		if unix.Access(w.dir, unix.W_OK) == nil {
			continue
		}
		if unix.Mkdir(w.dir, w.mode) == nil {
			unix.Chmod(w.dir, w.mode) // whatever the umask
		} else if login.IsDir(w.dir) { // the root is read-only
			unix.Mount("tmpfs", w.dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=%#o", w.mode))
		}
	}
	openOOM() // there was no /proc before
	// From now on Ctrl+Alt+Del, which is how a VMM asks, is a SIGINT to PID 1 and no reset.
	unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)
	return down
}

// isMountPoint reports whether dir is on another device than its parent.
func isMountPoint(dir string) bool {
	var a, b unix.Stat_t
	if unix.Stat(dir, &a) != nil || unix.Stat(filepath.Dir(dir), &b) != nil {
		return false
	}
	return a.Dev != b.Dev
}

// virtioVsock is the device's ID in the virtio specification.
const virtioVsock = 19

// serveInit does PID 1's duties beside reaping, which the reaper does.
func (s *Server) serveInit(down <-chan os.Signal) {
	go s.keepShell()
	<-down
	s.shutdown(hasVirtio(virtioVsock))
}

// keepShell keeps a shell on the console, if the guest has one.
func (s *Server) keepShell() {
	defer logPanic()
	const shell = "/bin/sh"
	for ; ; time.Sleep(time.Second) {
		if !exists(shell) {
			continue
		}
		fd, err := openConsole()
		if err != nil {
			continue
		}
		home := "/"
		if login.IsDir("/root") {
			home = "/root"
		}
		attr := &syscall.ProcAttr{Dir: home, Files: []uintptr{uintptr(fd), uintptr(fd), uintptr(fd)},
			Env: []string{"PATH=" + login.DefaultPath, "HOME=" + home, "USER=root", "LOGNAME=root", "SHELL=" + shell, "TERM=vt220"},
			Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true}}
		p, err := s.reaper.start(shell, []string{"-sh"}, attr)
		if err != nil { // a console that cannot be a controlling terminal
			attr.Sys.Setctty = false
			p, err = s.reaper.start(shell, []string{"-sh"}, attr)
		}
		unix.Close(fd)
		if err == nil {
			<-p.done
		}
	}
}

// openConsole opens the terminal behind /dev/console, which itself cannot be a controlling terminal.
func openConsole() (int, error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	if active := strings.Fields(readSys("class/tty/console/active")); len(active) > 0 {
		if fd, err := unix.Open("/dev/"+active[len(active)-1], flags, 0); err == nil {
			return fd, nil
		}
	}
	fd, err := unix.Open("/dev/console", flags, 0)
	if err != nil {
		fd, err = openDevice("console", 5, 1, unix.O_RDWR)
	}
	return fd, err
}
