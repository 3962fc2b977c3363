package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"noid/internal/storage"
)

// namePrefix begins, in a network's directory, the names of VMs, links to their addresses. An address is a link to the
// inbox of who answers there.
const namePrefix = "@"

// entry is the name of the link for a VM: DNS knows no case.
func entry(vm string) string { return namePrefix + strings.ToLower(vm) }

// Publish has the VM be found on the network called name at the address addr, by its name.
func (i *Inbox) Publish(ctx context.Context, name, vm string, addr netip.Addr) error {
	dir := filepath.Join(i.dir, name)
	lock, err := storage.LockPath(ctx, dir, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer storage.Unlock(lock)
	at, inbox := addr.String(), filepath.Join("..", i.name)
	if err := relink(dir, at, inbox); err != nil {
		return err
	}
	names, err := lock.Readdirnames(-1)
	for _, old := range names { // what it was called before, perhaps by a helper that has died
		if target, _ := os.Readlink(filepath.Join(dir, old)); target == at && old != entry(vm) {
			os.Remove(filepath.Join(dir, old))
		}
	}
	return errors.Join(err, relink(dir, entry(vm), at))
}

// relink has the link called name lead to target.
func relink(dir, name, target string) error {
	path := filepath.Join(dir, name)
	if now, err := os.Readlink(path); err == nil && now == target {
		return nil
	}
	os.Remove(path)
	return os.Symlink(target, path)
}

// Withdraw has the VM not be found any more at addr on the network called name, unless another one answers there by
// now: the VM was put back, say.
func (i *Inbox) Withdraw(ctx context.Context, name string, addr netip.Addr) error {
	dir := filepath.Join(i.dir, name)
	lock, err := storage.LockPath(ctx, dir, os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer storage.Unlock(lock)
	at := addr.String()
	if target, _ := os.Readlink(filepath.Join(dir, at)); target != filepath.Join("..", i.name) {
		return nil
	}
	names, err := lock.Readdirnames(-1)
	for _, e := range names {
		if target, _ := os.Readlink(filepath.Join(dir, e)); target == at {
			os.Remove(filepath.Join(dir, e))
		}
	}
	return errors.Join(err, os.Remove(filepath.Join(dir, at)))
}

// Find returns the address of the VM that is called vm on the network called name, while it can be reached there.
func (i *Inbox) Find(name, vm string) (addr netip.Addr, ok bool) {
	if vm == "" || strings.Contains(vm, "/") || len(vm) > 63 {
		return addr, false
	}
	target, err := os.Readlink(filepath.Join(i.dir, name, entry(vm)))
	if err != nil {
		return addr, false
	}
	addr, err = netip.ParseAddr(target)
	return addr, err == nil && Four(addr) == addr
}
