package confine

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// filterCalls denies the calling thread system calls that no VMM needs and that Landlock does not cover: connecting
// to anything, sockets but unix ones, options of a packet socket that it was given, io_uring (which gets round a filter),
// new namespaces (in which a user has all capabilities), looking into other processes, and changing the limit of a
// file's length. The VMM's own filter comes on top: the strictest holds.
func filterCalls() error {
	arch, ok := arches[runtime.GOARCH]
	if !ok {
		return unix.ENOSYS
	}
	program := filter(arch)
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return errno
	}
	return nil
}

var arches = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// Offsets in struct seccomp_data; the arguments' low halves on little-endian machines.
const (
	dataNr   = 0
	dataArch = 4
	dataArg0 = 16
	dataArg1 = 24
	dataArg2 = 32 // its high half follows
)

// newNamespaces are the flags of clone(2) that make namespaces.
const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// denied are the calls that fail with EPERM.
var denied = append([]uint32{unix.SYS_CONNECT}, privileged...)

// privileged are those of denied that no process needs which serves a guest.
var privileged = []uint32{
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
	unix.SYS_PIDFD_GETFD, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_EXECVEAT,
}

// missing are the calls that fail as if this kernel did not have them: callers know another way. clone3's flags are in
// memory, where no filter can look.
var missing = []uint32{unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER}

// The instructions of a filter. Jumps count the instructions that they skip.

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(test uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

func answer(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }

func fail(errno unix.Errno) unix.SockFilter { return answer(unix.SECCOMP_RET_ERRNO | uint32(errno)) }

// begin is how filters begin: they leave the number of the call to look at.
func begin(arch uint32) []unix.SockFilter {
	return []unix.SockFilter{
		load(dataArch), jump(unix.BPF_JEQ, arch, 1, 0), fail(unix.EPERM), // a 32-bit call: its numbers are others
		load(dataNr), jump(unix.BPF_JGE, 0x40000000, 0, 1), fail(unix.EPERM), // x32, likewise
	}
}

// filter is the program.
func filter(arch uint32) []unix.SockFilter {
	program := begin(arch)
	for _, nr := range denied {
		program = append(program, jump(unix.BPF_JEQ, nr, 0, 1), fail(unix.EPERM))
	}
	for _, nr := range missing {
		program = append(program, jump(unix.BPF_JEQ, nr, 0, 1), fail(unix.ENOSYS))
	}
	program = append(program,
		jump(unix.BPF_JEQ, unix.SYS_SETRLIMIT, 0, 3),
		load(dataArg0), jump(unix.BPF_JEQ, unix.RLIMIT_FSIZE, 0, 1), fail(unix.EPERM),
		load(dataNr), jump(unix.BPF_JEQ, unix.SYS_PRLIMIT64, 0, 7),
		load(dataArg1), jump(unix.BPF_JEQ, unix.RLIMIT_FSIZE, 0, 5), // reading it, without a new one, is allowed
		load(dataArg2), jump(unix.BPF_JEQ, 0, 0, 2), load(dataArg2+4), jump(unix.BPF_JEQ, 0, 1, 0), fail(unix.EPERM),
		load(dataNr), jump(unix.BPF_JEQ, unix.SYS_SETSOCKOPT, 0, 3),
		load(dataArg1), jump(unix.BPF_JEQ, unix.SOL_PACKET, 0, 1), fail(unix.EPERM), // its rings have had many a hole
		load(dataNr))
	return append(program,
		jump(unix.BPF_JEQ, unix.SYS_SOCKET, 0, 3),
		load(dataArg0), jump(unix.BPF_JEQ, unix.AF_UNIX, 4, 0), fail(unix.EACCES),
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 2),
		load(dataArg0), jump(unix.BPF_JSET, newNamespaces, 1, 0),
		answer(unix.SECCOMP_RET_ALLOW),
		fail(unix.EPERM),
	)
}
