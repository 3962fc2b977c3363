package agent

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
)

const (
	replyWait = 100 * time.Millisecond // for the reply to leave the guest before it goes down
	termWait  = 2 * time.Second        // between SIGTERM and SIGKILL to everyone, as PID 1
	initWait  = 6 * time.Second        // for the guest's own init to end the machine
	mainWait  = 7 * time.Second        // for the main commands to end: the host kills the VM after 10 s
)

// omitDir is where Debian's initscripts look for the ids of processes that a shutdown is to leave alone. All others it
// asks to end and waits for, up to 10 s (/etc/init.d/sendsigs), and the agent does not end. systemd spares it for its
// name.
const omitDir = "/run/sendsigs.omit.d"

// spare keeps a shutdown by Debian's initscripts from waiting for the agent. They make dir when they mount /run, which
// is after the agent's start: it is looked for a few times, ever more seldom, for about two minutes.
func spare(dir string) {
	defer logPanic()
	const first, last = time.Second, 64 * time.Second
	for wait := first; wait <= last && !omit(dir); wait *= 2 {
		time.Sleep(wait)
	}
}

// omit registers this process in dir and reports whether it is done: a directory that is not there yet may come.
func omit(dir string) bool {
	if !login.IsDir(dir) {
		return false
	}
	rewrite(filepath.Join(dir, "noid-agent"), strconv.Itoa(os.Getpid())+"\n", true) // if it fails, a shutdown is slow
	return true
}

// The real-time signals that systemd's PID 1 obeys (systemd(1)): SIGRTMIN+4 is poweroff.target, SIGRTMIN+5
// reboot.target. SIGRTMIN is 34 for glibc and musl.
const (
	systemdPowerOff = unix.Signal(34 + 4)
	systemdReboot   = unix.Signal(34 + 5)
)

// powerOff ends the machine, its own init's way if it has one. restart asks for a reboot, which is what ends a
// Firecracker VM: it has no power to switch off, and a guest that tries halts for ever.
func (s *Server) powerOff(restart bool) {
	defer logPanic()
	s.endMain(mainWait)
	if s.PowerOff != nil {
		s.PowerOff(restart)
		return
	}
	time.Sleep(replyWait)
	if s.Init {
		s.shutdown(restart)
		return
	}
	s.askInit(restart)
	time.Sleep(initWait)
	reboot(restart)
}

// endMain asks the main commands, those with a stop signal, to end, and waits for that.
func (s *Server) endMain(wait time.Duration) {
	s.mu.Lock()
	jobs := slices.Collect(maps.Values(s.jobs))
	s.mu.Unlock()
	late := time.After(wait)
	for _, j := range slices.DeleteFunc(jobs, func(j *job) bool { return j.stop == 0 || !j.signalItself(j.stop) }) {
		select {
		case <-j.exited:
		case <-late:
			return
		}
	}
}

// askInit tells the guest's init to go down.
func (s *Server) askInit(restart bool) {
	if login.IsDir("/run/systemd/system") {
		sig := systemdPowerOff
		if restart {
			sig = systemdReboot
		}
		unix.Kill(1, sig)
		return
	}
	omit(omitDir)
	name, sig := "poweroff", unix.SIGUSR2
	if restart {
		name, sig = "reboot", unix.SIGTERM
	}
	path, exit := find(name, "/", "/sbin:/usr/sbin:/bin:/usr/bin")
	if exit == nil {
		env := []string{"PATH=" + login.DefaultPath, "HOME=/"}
		if s.runHelper(path, []string{name}, env, initWait) == "" {
			return
		}
	}
	unix.Kill(1, sig) // busybox's init obeys these; any other PID 1 that does not catch them never sees them
}

// shutdown is PID 1's own way down.
func (s *Server) shutdown(restart bool) {
	unix.Kill(-1, unix.SIGTERM)
	unix.Kill(-1, unix.SIGCONT)
	for end := time.Now().Add(termWait); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if unix.Kill(-1, 0) == unix.ESRCH { // PID 1 itself does not count
			break
		}
	}
	unix.Kill(-1, unix.SIGKILL)
	time.Sleep(20 * time.Millisecond)
	reboot(restart)
}

// reboot ends the machine at once, with its file systems written and read-only.
func reboot(restart bool) {
	unix.Sync()
	if ownsMachine() {
		unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		unix.Sync()
	}
	how := unix.LINUX_REBOOT_CMD_POWER_OFF
	if restart {
		how = unix.LINUX_REBOOT_CMD_RESTART
	}
	unix.Reboot(how)
	// A kernel that cannot switch off has halted this thread, or refused.
	time.Sleep(time.Second)
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// initialPIDs is what /proc/self/ns/pid says in the machine's first PID namespace (PROC_PID_INIT_INO, 0xEFFFFFFC).
const initialPIDs = "pid:[4026531836]"

// ownsMachine guards what would hit a host if the agent ran in a container.
func ownsMachine() bool {
	ns, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && ns == initialPIDs && os.Geteuid() == 0
}
