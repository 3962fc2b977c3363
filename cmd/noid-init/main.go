//go:build linux

// Command noid-init is /init of noid's initramfs. It loads the modules beside it, mounts /dev/vda, or the VM's disk over
// its base, gives the network device its addresses, starts noid's agent if the initramfs has one, and executes the root
// filesystem's own init. Where there is none, the agent becomes init.
// When something fails it prints a line to the console and resets the machine: the VMM ends, and the line is in the
// console's log.
//
// To stay small it imports neither fmt nor os nor net: the binary is in every noid, and in a guest's memory while it
// boots.
package main

import (
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	modulesDir = "/modules" // NNN-NAME.ko, loaded in the order of their names
	newRoot    = "/newroot"
	rootDisk   = "vda"
	// rootWait is how long the disk may take to appear. It is there at once on KVM; an emulated machine under load is
	// slow.
	rootWait = 10 * time.Second
	// lastWords is how long a message stands before the reset, so that a console in between has passed it on.
	lastWords = time.Second
)

func main() {
	if unix.Getpid() != 1 { // on a host, what follows would reboot it
		say("this is the first process of a VM, not a command")
		unix.Exit(2)
	}
	if err := boot(); err != nil {
		say(err.Error())
	}
	unix.Sync()
	time.Sleep(lastWords)
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	for { // if process 1 ends, the kernel panics and its messages hide this one
		time.Sleep(time.Hour)
	}
}

// failure is an error made without fmt.
type failure struct {
	doing string
	err   error
}

func (f failure) Error() string { return f.doing + ": " + f.err.Error() }

// boot only returns on failure.
func boot() error {
	for _, m := range []struct{ fs, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m.fs, m.dir, m.fs, 0, ""); err != nil && err != unix.EBUSY {
			return failure{"mounting " + m.dir, err}
		}
	}
	openConsole()
	cmdline, args := readFile("/proc/cmdline"), arguments()
	loadModules()
	if err := mountRoot(cmdline, hasWord(cmdline, "ro")); err != nil {
		return err
	}
	a, reachable, networked := openAgent(), hasTransport(), raiseNetwork()
	conf := makeConf()
	if err := switchRoot(a != nil); err != nil {
		return err
	}
	if networked {
		nameServer(conf, a != nil && agentIsInit(cmdline))
	}
	return handOver(cmdline, args, a, reachable)
}

// openConsole makes /dev/console stdin, stdout and stderr, whatever the kernel has opened before.
func openConsole() {
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return
	}
	for std := 0; std <= 2; std++ {
		if fd != std {
			unix.Dup3(fd, std, 0)
		}
	}
	if fd > 2 {
		unix.Close(fd)
	}
}

// say writes one line to the console.
func say(text string) {
	unix.Write(2, []byte("noid-init: "+text+"\r\n"))
}

// mountRoot mounts what cmdline says on newRoot.
func mountRoot(cmdline string, readOnly bool) error {
	if hasWord(cmdline, layersWord) {
		return mountLayers(readOnly)
	}
	flags := uintptr(0)
	if readOnly {
		flags = unix.MS_RDONLY
	}
	err := mountDisk("/dev/"+rootDisk, newRoot, flags)
	if err == nil && hasWord(cmdline, growWord) && !readOnly {
		grow(rootDisk, newRoot)
	}
	return err
}

// mountDisk waits for device and mounts the ext4 on it on dir.
func mountDisk(device, dir string, flags uintptr) error {
	for start := time.Now(); ; {
		err := unix.Mount(device, dir, "ext4", flags, "")
		switch {
		case err == nil:
			return nil
		case err == unix.ENODEV:
			return failure{"mounting " + device + ": the kernel has no ext4, neither built in nor as a module of its own version", err}
		case err != unix.ENOENT && err != unix.ENXIO:
			for _, line := range kernelSays("EXT4-fs") {
				say(line)
			}
			return failure{"mounting " + device + " as ext4", err}
		case time.Since(start) > rootWait:
			return failure{"waiting for " + device + ": the kernel has no driver for virtio disks, or found none", err}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// switchRoot makes newRoot the root, and moves /dev, /proc and /sys there. With makePlace it makes their directories if
// it can: the agent's commands need them. It frees what of the initramfs loadModules and openAgent have left.
func switchRoot(makePlace bool) error {
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if makePlace {
			unix.Mkdir(newRoot+dir, 0o755)
		}
		if err := unix.Mount(dir, newRoot+dir, "", unix.MS_MOVE, ""); err != nil {
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	unix.Unlink("/init")
	unix.Rmdir(modulesDir)
	if err := unix.Chdir(newRoot); err != nil {
		return failure{"entering the new root", err}
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return failure{"moving the new root to /", err}
	}
	if err := unix.Chroot("."); err != nil {
		return failure{"changing to the new root", err}
	}
	return unix.Chdir("/")
}

// aloneWord of the kernel's command line has the agent be init, whatever the root file system has: nothing else runs.
const aloneWord = "noid.alone"

// inits are where the kernel itself looks for an init before it falls back to a shell.
var inits = []string{"/sbin/init", "/etc/init", "/bin/init"}

// agentIsInit reports whether the agent is to be init: the root file system has none.
func agentIsInit(cmdline string) bool {
	return hasWord(cmdline, aloneWord) || valueOf(cmdline, "init") == "" && !slices.ContainsFunc(inits, exists)
}

// handOver starts the agent beside the root filesystem's init and becomes that init, or becomes the agent where there
// is no init. a is nil without an agent. If the host can reach it, noid is told so by a line on the console: it then
// waits for the agent, however slow the guest is, and types nothing into a shell there. It only returns on failure.
func handOver(cmdline string, args []string, a *agent, reachable bool) error {
	if a != nil && agentIsInit(cmdline) {
		if reachable {
			say(agentRuns)
		}
		say(failure{"running the agent as init", a.becomeInit()}.Error())
		a = nil
	}
	if a != nil {
		if err := a.start(); err != nil {
			say(failure{"starting the agent", err}.Error())
		} else if reachable {
			say(agentRuns)
		}
	}
	return execInit(cmdline, args)
}

// execInit runs the root filesystem's init: the one that the command line names, or the first that works of those that
// the kernel itself tries. It gets the arguments that the kernel gave this one.
func execInit(cmdline string, args []string) error {
	if path := valueOf(cmdline, "init"); path != "" {
		return failure{"running " + path + ", the init= of the command line", run(path, args)}
	}
	var report error = failure{"running an init", unix.ENOENT}
	for _, path := range append(inits, "/bin/sh") {
		// A file whose interpreter or target is missing gives ENOENT as well.
		if err := run(path, args); err != unix.ENOENT || exists(path) {
			report = failure{"running " + path, err}
			say(report.Error())
		}
	}
	return failure{"no init in the root filesystem works (tried /sbin/init, /etc/init, /bin/init, /bin/sh)", report}
}

func run(path string, args []string) error {
	return syscall.Exec(path, append([]string{path}, args...), syscall.Environ())
}

// exists reports whether there is something at path, be it a link that leads nowhere.
func exists(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil
}
