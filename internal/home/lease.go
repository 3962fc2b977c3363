package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// Lease ties a VM to this process: once the process has ended, the next Sweep removes the VM. It is a file in the
// staging area, ".run-NAME-RANDOM", with a second name in the VM's directory. The process has it locked: so anybody can
// tell whether that lives, from any pid namespace. The second name tells the VM, whatever it is called by now.
type Lease struct{ f *os.File }

const (
	leasePrefix = ".run-"
	leaseFile   = "lease" // in the VM's directory
)

// NewLease makes the lease of a VM that is to be called name. End it when that VM is gone, or was not made.
func (h *Home) NewLease(ctx context.Context, name string) (*Lease, error) {
	f, err := lockLease(ctx, h.staged(leasePrefix, name), LockWait) // a Sweep may look at it
	if err != nil {
		return nil, fmt.Errorf("leasing vm %q: %w", name, err)
	}
	return &Lease{f}, nil
}

// Bind has the VM whose directory is dir go with the lease.
func (l *Lease) Bind(dir string) error {
	path := filepath.Join(dir, leaseFile)
	if err := os.Link(l.f.Name(), path); err != nil {
		return err
	}
	if !storage.IsAt(l.f, path) { // the storage was moved since: what is there now is a copy that nobody holds
		os.Remove(path)
		return errs.New(errs.ErrBusy, "the home's storage was moved meanwhile").Hint("try again")
	}
	return nil
}

// PassLease has the VM in dir replace the one in old, also in its lease if that has one.
func PassLease(old, dir string) error {
	err := os.Link(filepath.Join(old, leaseFile), filepath.Join(dir, leaseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// VM returns what the VM of the lease is called by now, "" when there is none any more. An error is one that there is
// and that cannot be found now.
func (l *Lease) VM(h *Home) (name string, err error) {
	for range 3 { // it may be renamed under this one's eyes
		info, err := l.f.Stat()
		if err != nil || info.Sys().(*syscall.Stat_t).Nlink < 2 {
			return "", err
		}
		if name = l.find(h, info); name != "" {
			return name, nil
		}
	}
	return "", errs.New(errs.ErrBusy, "its files are being moved or removed")
}

// find looks for the VM that has the lease whose file is info.
func (l *Lease) find(h *Home, info fs.FileInfo) string {
	holds := func(name string) bool {
		at, err := os.Lstat(filepath.Join(h.VMDir(name), leaseFile))
		return err == nil && os.SameFile(at, info)
	}
	name, _ := splitStaged(filepath.Base(l.f.Name()))
	if isName(name) && holds(name) {
		return name
	}
	names, _ := h.VMNames() // it was renamed
	for _, name := range names {
		if holds(name) {
			return name
		}
	}
	return ""
}

// End ends the lease. A VM that it has stays.
func (l *Lease) End() {
	os.Remove(l.f.Name())
	storage.Unlock(l.f)
}

// lockLease locks the file path, which it makes. errs.ErrBusy is that its process lives.
func lockLease(ctx context.Context, path string, wait time.Duration) (*os.File, error) {
	return lockFile(ctx, path, unix.LOCK_EX, wait, "it")
}

// sweepLease removes the VM of the lease base in the staging area, unless the process that made it lives.
func (h *Home) sweepLease(ctx context.Context, base, verb string) error {
	f, err := lockLease(ctx, filepath.Join(h.StagingRoot(), base), 0)
	if errors.Is(err, errs.ErrBusy) {
		return nil
	} else if err != nil {
		return err
	}
	l := &Lease{f}
	for {
		name, err := l.VM(h)
		if err == nil && name == "" {
			l.End()
			return nil
		}
		done := false
		if err == nil {
			done, err = h.evict(ctx, l, name, verb)
		} else if errors.Is(err, errs.ErrBusy) {
			err = nil
		}
		if !done || err != nil {
			storage.Unlock(f) // for the next Sweep
			return err
		}
	}
}

// evict removes the VM name of the lease l. It is not done when somebody works on the VM, or where it runs elsewhere: a
// noid there sweeps it, or any once it has ended.
func (h *Home) evict(ctx context.Context, l *Lease, name, verb string) (done bool, err error) {
	lock, err := h.lockWithin(ctx, name, verb, 0)
	if errors.Is(err, errs.ErrBusy) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer lock.Unlock()
	if now, err := l.VM(h); now != name { // since
		return err == nil, nil
	}
	v, _, _ := readVM(h.VMDir(name), name)
	if !v.Process.Alive() && vmm.Elsewhere(h.VMDir(name), 0) {
		return false, nil
	}
	old := h.OldDir(name)
	if err := os.Rename(h.VMDir(name), old); err != nil {
		return false, err
	}
	wait, err := h.killIn(ctx, name, old)
	if err != nil || vmm.Elsewhere(old, wait) {
		return false, err
	}
	return true, storage.RemoveAll(old)
}
