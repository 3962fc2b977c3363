package confine

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/storage"
)

const (
	// cgroupName is the cgroup that holds those of all VMs.
	cgroupName = "noid"
	vmPrefix   = "vm-" // and the VMM's pid
	// memoryExtra is what a VMM may take beside twice its guest's memory: code, buffers, device state.
	memoryExtra = 512 << 20
	// maxThreads is for QEMU's pool of 64 threads for disk I/O, and the rest. Each virtual CPU has one more.
	maxThreads = 128
	// cpuPeriod is cgroup v2's default, in microseconds.
	cpuPeriod = 100_000
)

var controllers = []string{"cpu", "memory", "pids"}

// Cgroup makes or finds the parent of the VMs' cgroups. It is below the topmost cgroup, among those around noid's
// own, that noid may write to: the root for root, that of the user's own systemd for a user.
var Cgroup = sync.OnceValues(func() (Group, error) {
	mount, own, err := unified()
	if err != nil {
		return Group{}, err
	}
	above := []string{mount}
	for dir, rest := mount, own; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if name != "" {
			dir = filepath.Join(dir, name)
			above = append(above, dir)
		}
	}
	for _, dir := range above {
		if unix.Access(dir, unix.W_OK) != nil || unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) != nil || len(wanted(dir, "cgroup.controllers")) == 0 {
			continue
		}
		group := Group{Dir: filepath.Join(dir, cgroupName)}
		if err := os.Mkdir(group.Dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			continue
		}
		enable(dir)
		enable(group.Dir)
		if group.Controllers = wanted(group.Dir, "cgroup.subtree_control"); len(group.Controllers) > 0 {
			return group, nil
		}
		unix.Rmdir(group.Dir)
	}
	return Group{}, errors.New("not available: no cgroup v2 with CPU, memory or process limits that noid may set")
})

// Group is a cgroup for VMs' cgroups.
type Group struct {
	Dir         string
	Controllers []string
}

// enable has dir's controllers reach the cgroups below it.
func enable(dir string) {
	on := wanted(dir, "cgroup.subtree_control")
	for _, c := range wanted(dir, "cgroup.controllers") {
		if !slices.Contains(on, c) {
			write(filepath.Join(dir, "cgroup.subtree_control"), "+"+c)
		}
	}
}

// wanted returns which of controllers the list in dir/file names.
func wanted(dir, file string) (names []string) {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil
	}
	for _, name := range strings.Fields(string(data)) {
		if slices.Contains(controllers, name) {
			names = append(names, name)
		}
	}
	return names
}

// unified returns where cgroup v2 is mounted, and noid's own cgroup below that.
func unified() (mount, own string, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() && mount == "" {
		// proc(5): the mount point is field 5; after " - " come type, source and options.
		front, back, _ := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(front); strings.HasPrefix(back, "cgroup2 ") && len(fields) > 4 {
			mount = fields[4]
		}
	}
	if mount == "" {
		return "", "", errors.New("not available: cgroup v2 is not mounted")
	}
	own, err = cgroupOf("self")
	return mount, own, err
}

// cgroupOf returns the cgroup of a process as /proc names it, "/a/b".
func cgroupOf(pid string) (string, error) {
	data, err := proc(pid, "cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path, nil
		}
	}
	return "", errors.New("not available: no cgroup v2")
}

// join puts the process pid into a cgroup of its own, and removes those of VMs that are gone.
func (l Limits) join(pid int, dir string) {
	group, err := Cgroup()
	if err != nil {
		return
	}
	group.sweep()
	vm := filepath.Join(group.Dir, vmPrefix+strconv.Itoa(pid))
	for range 3 { // another noid may sweep it away while it is empty
		if err := os.Mkdir(vm, 0o755); errors.Is(err, os.ErrNotExist) { // the last VM's end took the group along
			os.Mkdir(group.Dir, 0o755)
			enable(group.Dir)
			continue
		} else if err != nil && !errors.Is(err, os.ErrExist) {
			return
		}
		write(filepath.Join(vm, "pids.max"), strconv.Itoa(maxThreads+l.CPUs))
		if l.CPUs > 0 { // one more for the VMM's own work: disk, console, emulated devices
			write(filepath.Join(vm, "cpu.max"), fmt.Sprintf("%d %d", (l.CPUs+1)*cpuPeriod, cpuPeriod))
		}
		// The page cache of what the VMM writes counts too: disk, snapshots, and with QEMU all memory, which is a file.
		// The kernel takes it back before it kills, but a limit near the guest's memory would make a snapshot wait for
		// the disk. In a tmpfs nothing can be taken back: there, no limit.
		if l.MemBytes > 0 && !inMemory(dir) {
			write(filepath.Join(vm, "memory.max"), strconv.FormatInt(2*l.MemBytes+memoryExtra, 10))
		}
		if write(filepath.Join(vm, "cgroup.procs"), strconv.Itoa(pid)) == nil {
			return
		}
	}
	unix.Rmdir(vm)
}

// Discard removes the cgroup unless VMs are in it.
func (g Group) Discard() {
	if g.Dir != "" {
		unix.Rmdir(g.Dir)
	}
}

// sweep removes the cgroups of VMs that have no process left: rmdir refuses others.
func (g Group) sweep() {
	entries, err := os.ReadDir(g.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), vmPrefix) {
			unix.Rmdir(filepath.Join(g.Dir, e.Name()))
		}
	}
}

// leaveWait bounds the wait for the last thread of a killed VMM: a process counts as gone a little before the kernel
// has freed it. What is left then goes with the next VM's start or end.
const leaveWait = 300 * time.Millisecond

// Leave removes the cgroup of a VMM that has ended, and noid's when it was the last.
func Leave(pid int) {
	mount, own, err := unified()
	if err != nil {
		return
	}
	for dir := filepath.Join(mount, own); len(dir) >= len(mount); dir = filepath.Dir(dir) {
		group := Group{Dir: filepath.Join(dir, cgroupName)}
		vm := filepath.Join(group.Dir, vmPrefix+strconv.Itoa(pid))
		err := unix.Rmdir(vm)
		for began := time.Now(); err == unix.EBUSY && time.Since(began) < leaveWait; err = unix.Rmdir(vm) {
			time.Sleep(2 * time.Millisecond)
		}
		if err == nil {
			group.sweep()
			group.Discard()
			return
		}
		if dir == mount {
			return
		}
	}
}

// inMemory reports whether what is written in dir stays in memory, or may.
func inMemory(dir string) bool {
	return slices.Contains([]string{"tmpfs", "ramfs", "unknown"}, storage.FSType(dir))
}

// write writes a cgroup's file.
func write(path, text string) error { return os.WriteFile(path, []byte(text), 0) }
