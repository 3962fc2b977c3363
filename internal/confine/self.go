package confine

import (
	"errors"
	"runtime"
	"unsafe"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Access says what the calling process keeps of its access to files.
type Access struct {
	// Dir is the directory in which it may make, write, rename and remove files.
	Dir string
	// Sockets is a directory in which it may make, rename and remove sockets and links, and send to sockets. It reads the
	// files there. "": none.
	Sockets string
	// Read are files and directories for reading. What is not there is left out.
	Read []string
}

// Self confines the calling process for good, all its threads: it starts no program, looks into no other process, makes
// no namespace, no socket but those of IP and netlink, and has no files but those of a. It keeps no capability but
// CAP_NET_BIND_SERVICE. What this kernel cannot do is left out, as in Start.
func Self(a Access) error {
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	rules := selfRules(a)
	defer rules.close()
	if rules.err == nil {
		if _, _, errno := psx.Syscall3(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(rules.fd), 0, 0); errno != 0 {
			return errno
		}
	}
	return errors.Join(dropAll(), filterSelf())
}

func selfRules(a Access) *ruleset {
	r := &ruleset{fd: -1}
	if r.abi, r.err = LandlockABI(); r.err != nil {
		return r
	}
	attr := ll.RulesetAttr{HandledAccessFS: fsABI1}
	for _, step := range []struct {
		abi    int
		fs, sc uint64
	}{{2, fsABI2, 0}, {3, fsABI3, 0}, {5, fsABI5, 0}, {6, fsABI5, scopes}, {9, fsABI9, scopes}} {
		if r.abi >= step.abi {
			attr.HandledAccessFS, attr.Scoped = step.fs, step.sc
		}
	}
	r.handled = attr.HandledAccessFS
	if r.fd, r.err = ll.LandlockCreateRuleset(&attr, 0); r.err != nil {
		return r
	}
	unix.CloseOnExec(r.fd)
	r.add(a.Dir, toRead|toMake|ll.AccessFSRemoveFile)
	if a.Sockets != "" {
		r.add(a.Sockets, inDir|ll.AccessFSMakeSym|ll.AccessFSRemoveFile)
	}
	for _, path := range a.Read {
		r.add(path, toRead)
	}
	r.add("/dev/null", device)
	return r
}

// dropAll drops the capabilities of all threads but CAP_NET_BIND_SERVICE: a user's port may be below 1024.
func dropAll() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have, keep [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return err
	}
	const bind = 1 << unix.CAP_NET_BIND_SERVICE
	keep[0].Effective, keep[0].Permitted = have[0].Effective&bind, have[0].Permitted&bind
	for c := uintptr(0); c < 64; c++ { // from CAP_LAST_CAP on: EINVAL
		if c != unix.CAP_NET_BIND_SERVICE {
			psx.Syscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0, 0) // EPERM without CAP_SETPCAP: nothing can be gained
		}
	}
	psx.Syscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0)
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&keep[0])), 0)
	runtime.KeepAlive(&keep)
	if errno != 0 {
		return errno
	}
	return nil
}

// families are the kinds of sockets that a process can make after Self.
var families = []uint32{unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// filterSelf is filterCalls for all threads, and for a process that speaks to networks.
func filterSelf() error {
	arch, ok := arches[runtime.GOARCH]
	if !ok {
		return nil
	}
	program := selfFilter(arch)
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 && errno != unix.ENOSYS && errno != unix.EINVAL {
		return errno
	}
	return nil
}

func selfFilter(arch uint32) []unix.SockFilter {
	program := begin(arch)
	for _, nr := range append([]uint32{unix.SYS_EXECVE}, privileged...) {
		program = append(program, jump(unix.BPF_JEQ, nr, 0, 1), fail(unix.EPERM))
	}
	for _, nr := range missing {
		program = append(program, jump(unix.BPF_JEQ, nr, 0, 1), fail(unix.ENOSYS))
	}
	n := uint8(len(families))
	program = append(program, jump(unix.BPF_JEQ, unix.SYS_SOCKET, 0, n+2), load(dataArg0))
	for i, family := range families {
		program = append(program, jump(unix.BPF_JEQ, family, n-uint8(i)+3, 0))
	}
	return append(program,
		fail(unix.EACCES),
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 2),
		load(dataArg0), jump(unix.BPF_JSET, newNamespaces, 1, 0),
		answer(unix.SECCOMP_RET_ALLOW),
		fail(unix.EPERM),
	)
}
