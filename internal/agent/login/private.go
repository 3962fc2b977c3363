package login

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Private is a file system that this process alone sees, mounted when it is first needed. fsmount(2) (Linux 5.2) gives a
// descriptor of a mount that is on no path.
type Private struct {
	FSType  string
	Options []string // each a word or KEY=VALUE

	once sync.Once
	root int
	err  error
}

// Open opens the file name in it. It makes the mount, whether the file is there or not.
func (p *Private) Open(name string, flags int) (int, error) {
	p.once.Do(func() { p.root, p.err = Mount(p.FSType, p.Options...) })
	if p.err != nil {
		return -1, p.err
	}
	return unix.Openat(p.root, name, flags|unix.O_CLOEXEC, 0)
}

// Root returns the descriptor of the mount, once Open has made it.
func (p *Private) Root() int { return p.root }

// Mount returns a descriptor of a new mount. An option is a word or KEY=VALUE.
func Mount(fstype string, options ...string) (int, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mounting a %s: %w", fstype, err)
	}
	defer unix.Close(fs)
	for _, o := range options {
		if key, value, has := strings.Cut(o, "="); has {
			err = errors.Join(err, unix.FsconfigSetString(fs, key, value))
		} else {
			err = errors.Join(err, unix.FsconfigSetFlag(fs, key))
		}
	}
	fd := -1
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err == nil {
		fd, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("mounting a %s: %w", fstype, err)
	}
	return fd, nil
}
