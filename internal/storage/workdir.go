package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

const (
	workPrefix   = ".setup-"     // of the directories to work in
	workLockFile = ".setup.lock" // its holder may delete all that workPrefix marks
)

// WorkDir locks dir, which it makes if need be, removes what killed noids left in it, and makes a directory to work in.
// done removes that again and unlocks. The lock dies with the process. errs.ErrBusy is another noid that holds it.
func WorkDir(dir string) (work string, done func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	lock, err := TryLockPath(filepath.Join(dir, workLockFile), os.O_RDWR|os.O_CREATE)
	if errors.Is(err, errs.ErrBusy) {
		err = errs.New(errs.ErrBusy, "another noid works in %q", dir).Hint("wait for it to end, and try again")
	}
	if err != nil {
		return "", nil, err
	}
	leftovers, _ := filepath.Glob(filepath.Join(dir, workPrefix+"*"))
	for _, path := range leftovers {
		os.RemoveAll(path)
	}
	if work, err = os.MkdirTemp(dir, workPrefix); err != nil {
		Unlock(lock)
		return "", nil, err
	}
	return work, func() {
		os.RemoveAll(work)
		Unlock(lock)
	}, nil
}

// PublishTree renames the file or directory from to to, once all of it is on disk. Of a directory that is there, the
// two change places: the caller removes the old one, which is at from then.
func PublishTree(from, to string) error {
	if err := SyncFS(from); err != nil {
		return err
	}
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return Exchange(from, to)
	}
	if err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}
