package confine

import (
	"errors"
	"path/filepath"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// What each version of Landlock's ABI brought, from the kernel's Documentation/userspace-api/landlock.rst.
const (
	fsABI1 = ll.AccessFSRefer - 1 // execute to make_sym
	fsABI2 = fsABI1 | ll.AccessFSRefer
	fsABI3 = fsABI2 | ll.AccessFSTruncate
	fsABI5 = fsABI3 | ll.AccessFSIoctlDev
	netTCP = ll.AccessNetBindTCP | ll.AccessNetConnectTCP
	netUDP = ll.AccessNetBindUDP | ll.AccessNetConnectSendUDP
	fsABI9 = fsABI5 | ll.AccessFSResolveUnix
	scopes = ll.ScopeAbstractUnixSocket | ll.ScopeSignal
)

// What a VMM gets. In its directory it reads, and makes sockets; it writes the files that its policy names and makes
// files where its policy says. It cannot touch noid's own record there, and makes no links, FIFOs or directories, which
// could only mislead noid.
const (
	inDir   = ll.AccessFSReadFile | ll.AccessFSReadDir | ll.AccessFSMakeSock | ll.AccessFSResolveUnix
	toWrite = ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate
	toMake  = toWrite | ll.AccessFSMakeReg
	toRead  = ll.AccessFSReadFile | ll.AccessFSReadDir
	toRun   = ll.AccessFSReadFile | ll.AccessFSExecute
	device  = ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSIoctlDev
	// fileRights are those that a rule for anything but a directory may have.
	fileRights = ll.AccessFSExecute | ll.AccessFSWriteFile | ll.AccessFSReadFile | ll.AccessFSTruncate | ll.AccessFSIoctlDev
)

// ruleset is a Landlock ruleset that is ready to be enforced.
type ruleset struct {
	fd, abi int
	handled uint64
	err     error
}

// LandlockABI is the version of Landlock's ABI that the kernel has.
func LandlockABI() (int, error) {
	abi, err := ll.LandlockGetABIVersion()
	switch {
	case errors.Is(err, unix.ENOSYS):
		return 0, errors.New("not available: kernel without Landlock")
	case errors.Is(err, unix.EOPNOTSUPP):
		return 0, errors.New("not available: Landlock is switched off at boot")
	case err != nil:
		return 0, errors.New("not available: " + err.Error())
	}
	return abi, nil
}

// newRules makes the ruleset for p and binary. An error is kept for enforce.
func newRules(p Policy, binary string) *ruleset {
	r := &ruleset{fd: -1}
	if r.abi, r.err = LandlockABI(); r.err != nil {
		return r
	}
	var attr ll.RulesetAttr
	attr.HandledAccessFS = fsABI1
	for _, step := range []struct {
		abi         int
		fs, net, sc uint64
	}{{2, fsABI2, 0, 0}, {3, fsABI3, 0, 0}, {4, fsABI3, netTCP, 0}, {5, fsABI5, netTCP, 0}, {6, fsABI5, netTCP, scopes},
		{9, fsABI9, netTCP, scopes}, {10, fsABI9, netTCP | netUDP, scopes}} {
		if r.abi >= step.abi {
			attr.HandledAccessFS, attr.HandledAccessNet, attr.Scoped = step.fs, step.net, step.sc
		}
	}
	r.handled = attr.HandledAccessFS
	if r.fd, r.err = ll.LandlockCreateRuleset(&attr, 0); r.err != nil {
		return r
	}
	unix.CloseOnExec(r.fd)
	r.add(p.Dir, inDir)
	for _, name := range p.Write {
		r.add(filepath.Join(p.Dir, name), toWrite)
	}
	if p.Make != "" {
		r.add(filepath.Join(p.Dir, p.Make), toMake)
	}
	read, run := filesOf(binary)
	for _, path := range append(read, p.Read...) {
		r.add(path, toRead)
	}
	for _, path := range run {
		r.add(path, toRun|toRead)
	}
	for _, path := range append([]string{"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"}, p.Devices...) {
		r.add(path, device)
	}
	return r
}

// add allows access to path and what is below it, if it is there.
func (r *ruleset) add(path string, access uint64) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if unix.Fstat(fd, &stat) != nil {
		return
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= fileRights
	}
	// A rule that the kernel refuses only takes from the VMM.
	ll.LandlockAddPathBeneathRule(r.fd, &ll.PathBeneathAttr{AllowedAccess: access & r.handled, ParentFd: fd}, 0)
}

// enforce confines the calling thread.
func (r *ruleset) enforce() error {
	if r.err != nil {
		return r.err
	}
	return ll.LandlockRestrictSelf(r.fd, 0)
}

func (r *ruleset) close() {
	if r.fd >= 0 {
		unix.Close(r.fd)
	}
}
