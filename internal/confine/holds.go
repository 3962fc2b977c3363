package confine

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Holds is what confines a process.
type Holds struct {
	LandlockABI    int    `json:"landlock_abi"` // 0: no Landlock
	NoNewPrivs     bool   `json:"no_new_privs"`
	SeccompFilters int    `json:"seccomp_filters"`  // noid's, and the VMM's own on top
	Capabilities   string `json:"capabilities"`     // effective, permitted and bounding together, in hex; "0" for none
	Cgroup         string `json:"cgroup,omitempty"` // the VM's own
}

// Of reads from /proc what confines the process pid. Landlock is what it was at the start.
func Of(pid int) (Holds, error) {
	h, err := status(strconv.Itoa(pid))
	if err != nil {
		return h, err
	}
	if data, err := proc(strconv.Itoa(pid), "environ"); err == nil {
		for entry := range bytes.SplitSeq(data, []byte{0}) {
			if value, ok := strings.CutPrefix(string(entry), landlockEnv+"="); ok {
				h.LandlockABI, _ = strconv.Atoi(value)
			}
		}
	}
	if group, err := cgroupOf(strconv.Itoa(pid)); err == nil && strings.HasPrefix(filepath.Base(group), vmPrefix) {
		h.Cgroup = group
	}
	return h, nil
}

// proc reads /proc/PID/name, 64 KiB of it at most. pid may be a number, "self" or "thread-self".
func proc(pid, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join("/proc", pid, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64<<10))
}

// status reads /proc/PID/status.
func status(pid string) (h Holds, err error) {
	data, err := proc(pid, "status")
	if err != nil {
		return h, err
	}
	var capabilities uint64
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "NoNewPrivs":
			h.NoNewPrivs = value == "1"
		case "Seccomp": // 2 is a filter; how many, kernels tell since 5.9
			if value == "2" && h.SeccompFilters == 0 {
				h.SeccompFilters = 1
			}
		case "Seccomp_filters":
			h.SeccompFilters, _ = strconv.Atoi(value)
		case "CapEff", "CapPrm", "CapBnd":
			bits, err := strconv.ParseUint(value, 16, 64)
			if err != nil {
				return h, err
			}
			capabilities |= bits
		}
	}
	h.Capabilities = strconv.FormatUint(capabilities, 16)
	return h, nil
}

// Probe confines a thread of this process as a VMM would be, in dir, and looks at the result. Landlock counts when a
// file outside of dir can no longer be opened for writing.
func Probe(dir string) (h Holds, err error) {
	outside, err := os.CreateTemp("", "noid-probe-")
	if err != nil {
		return h, err
	}
	defer os.Remove(outside.Name())
	defer outside.Close()
	self, err := os.Executable()
	if err != nil {
		return h, err
	}
	inner, err := os.MkdirTemp(dir, ".probe-")
	if err != nil {
		return h, err
	}
	defer os.Remove(inner)
	p := Policy{Dir: inner, Read: []string{"/proc/self"}}
	rules := newRules(p, self)
	defer rules.close()
	OnDyingThread(func() {
		abi := confineThread(p.reachable, self, rules)
		if h, err = status("thread-self"); err != nil {
			return
		}
		fd, openErr := unix.Open(outside.Name(), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if openErr == nil {
			unix.Close(fd)
		} else if openErr == unix.EACCES {
			h.LandlockABI = abi
		}
	})
	return h, err
}
