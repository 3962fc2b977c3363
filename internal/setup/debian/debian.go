// Package debian gets what a host lacks from the packages of Debian and Ubuntu: a kernel with its modules, a static
// busybox for a small root filesystem, programs. Packages are downloaded and unpacked, which takes no root; programs
// alone are installed.
//
// Everything is made in a directory of its own and published by a rename. An interrupted call leaves nothing half done.
package debian

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
)

// Options says where to put things and whom to tell.
type Options struct {
	KernelsDir string // for kernels with their modules
	ImagesDir  string // for root filesystem images
	// Progress is told what is going on, a line at a time without a newline; nil is told nothing.
	Progress func(string)
}

func (o Options) say(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}

const (
	workPrefix = ".setup-"     // of the directories to work in
	lockFile   = ".setup.lock" // its holder may delete all that workPrefix marks
)

// workDir locks dir, which it makes if need be, removes what killed setups left in it, and makes a directory to work
// in. done removes that again and unlocks. The lock dies with the process. errs.ErrBusy is another setup that holds it.
func workDir(dir string) (work string, done func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return "", nil, err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errs.New(errs.ErrBusy, "another noid setup works in %q", dir).Hint("wait for it to end, and try again")
	}
	if err == nil {
		leftovers, _ := filepath.Glob(filepath.Join(dir, workPrefix+"*"))
		for _, path := range leftovers {
			os.RemoveAll(path)
		}
		work, err = os.MkdirTemp(dir, workPrefix)
	}
	if err != nil {
		lock.Close()
		return "", nil, err
	}
	return work, func() {
		os.RemoveAll(work)
		lock.Close()
	}, nil
}

// Sweep removes what a setup that was killed has left.
func Sweep(o Options) {
	for _, dir := range []string{o.KernelsDir, o.ImagesDir} {
		if _, done, err := workDir(dir); err == nil { // its first work
			done()
		}
	}
}

// publish renames from to to, which does not exist, once all of from is on disk.
func publish(from, to string) error {
	if err := storage.SyncFS(from); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return storage.SyncDir(filepath.Dir(to))
}
