package confine

import (
	"golang.org/x/sys/unix"
)

// Limits bound what a VMM takes of the host.
type Limits struct {
	CPUs     int   // the guest's
	MemBytes int64 // the guest's
	// FileBytes is how long the longest file that it writes may become, until AllowLength says more. 0: no bound.
	FileBytes int64
}

const (
	// maxFiles is how many descriptors a VMM may hold: an idle one has 20–40, a virtual CPU costs QEMU some 10 more,
	// each vsock connection one.
	maxFiles = 1024
	// maxLocked is memory that a VMM may lock, in bytes: it does not, the libraries may for a key.
	maxLocked = 64 << 10
)

// set sets resource limits of the process pid. There is none on processes: RLIMIT_NPROC counts those of the user.
func (l Limits) set(pid int) {
	limit := func(resource int, value uint64) {
		var old unix.Rlimit
		if unix.Prlimit(pid, resource, nil, &old) == nil {
			value = min(value, old.Max)
			hard := value
			if resource == unix.RLIMIT_FSIZE { // to be raised by noid alone: filterCalls denies it to the process
				hard = old.Max
			}
			unix.Prlimit(pid, resource, &unix.Rlimit{Cur: value, Max: hard}, nil)
		}
	}
	limit(unix.RLIMIT_CORE, 0) // it would hold the guest's memory
	limit(unix.RLIMIT_NOFILE, maxFiles+16*uint64(max(l.CPUs, 0)))
	limit(unix.RLIMIT_MEMLOCK, maxLocked)
	if l.FileBytes > 0 {
		limit(unix.RLIMIT_FSIZE, uint64(l.FileBytes))
	}
}

// AllowLength lets the process pid, which Start has started, write files of so many bytes. One of a noid that could
// not do that yet needs a privilege for it.
func AllowLength(pid int, bytes int64) error {
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &old); err != nil || old.Cur >= uint64(bytes) {
		return err
	}
	return unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(bytes), Max: max(old.Max, uint64(bytes))}, nil)
}
