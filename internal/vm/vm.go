// Package vm is what noid means by its verbs, said once for every driver and every front end. A verb that changes a VM
// takes its lock, makes the new thing aside, publishes it by a rename and only then removes the old one: it may be
// killed at any point. A verb that talks to a guest takes streams, sizes and signals as values; it knows no terminal.
package vm

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"noid/internal/checkpoint"
	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/storage"
	"noid/internal/storage/volume"
	"noid/internal/vmm"
)

// Drivers are the VMM drivers that a Manager may use.
type Drivers interface {
	// Driver returns the driver called name; errs.ErrUsage when there is none.
	Driver(name string) (vmm.Driver, error)
	// Choose returns the name of the driver that runs guests best on this host.
	Choose(ctx context.Context) string
	// Emulates reports whether guests of the driver called name would be emulated here.
	Emulates(name string) bool
	// CanRun refuses, with an errs.ErrHost, a driver of which a Linux guest does not get up here.
	CanRun(name string) error
	// CanNetwork refuses, with an errs.ErrHost, a VM with a network on a host that cannot give it one.
	CanNetwork() error
}

// Manager carries out verbs on the VMs of one home. Its methods may be called side by side.
type Manager struct {
	Home    *home.Home
	Drivers Drivers
	Config  config.Config // what Create falls back to
	// HelperCommand is the command of a VM's helper, to which the driver's name and the VMM's proc.Process.Args are
	// appended. Empty for none.
	HelperCommand []string
	// Warn takes what went wrong without failing a verb, Notice what a user may like to know. Nil drops it.
	Warn, Notice func(string)
	// WarnEmulated, if set, is called once a day when a guest has started that the host's processor does not run.
	WarnEmulated func()
	// Made, if set, is called for each checkpoint that was made, also by several goroutines at once.
	Made func(checkpoint.Record)
	// Version is noid's own, for manifests.
	Version string
	dirs    *heldDirs
}

// Open opens the home in dir, or with "" the default one, and its configuration. The manager has no drivers yet. With a
// damaged configuration it returns both the manager and an error. verb is what the user typed, for whom this keeps
// waiting. The home must be the caller's own; with asRoot, root may open anybody's, to move or mount its storage. The
// caller closes the manager.
func Open(ctx context.Context, dir, verb string, asRoot bool) (*Manager, error) {
	if dir == "" {
		var err error
		if dir, err = home.DefaultDir(); err != nil {
			return nil, err
		}
	}
	if err := home.CheckOwner(dir, asRoot); err != nil {
		return nil, err
	}
	if err := volume.Ready(ctx, dir, verb); err != nil {
		return nil, err
	}
	h, err := home.Look(dir)
	if err != nil {
		return nil, errors.Join(volume.Missing(dir), err)
	}
	m := &Manager{Home: h, dirs: &heldDirs{}}
	m.Config, err = config.Load(h.ConfigPath())
	return m, err
}

// Close ends the use of the home.
func (m *Manager) Close() {
	m.dirs.close()
	m.Home.Close()
	m.Home.GiveBack()
}

// CheckName accepts the name of a VM or returns errs.ErrUsage.
func CheckName(name string) error { return home.CheckName(name) }

// CheckExists accepts the name of a VM that is there, a broken one too. Any other is errs.ErrNotFound.
func (m *Manager) CheckExists(name string) error {
	_, err := m.Home.LoadVM(name)
	if errors.Is(err, errs.ErrNotFound) || errors.Is(err, errs.ErrUsage) {
		return err
	}
	return nil
}

// CheckKnown is CheckExists that also accepts a destroyed VM whose checkpoints are still there.
func (m *Manager) CheckKnown(name string) error {
	_, err := m.Home.CheckpointIDs(name)
	return err
}

// ParseRef splits "vm@ref" at its first @. Without an @, ref is empty. What it refuses is errs.ErrUsage.
func ParseRef(s string) (name, ref string, err error) { return home.ParseRef(s) }

// beginChange is what a verb that changes something does first: it removes what killed commands have left.
func (m *Manager) beginChange(ctx context.Context, verb string) {
	if !m.Home.Made() {
		return
	}
	m.Home.Make() // the directories that somebody has removed; where it cannot, the verb says why
	config.Sweep(m.Home.ConfigPath())
	if err := m.Home.Sweep(ctx, verb); err != nil {
		m.notice(fmt.Sprintf("leftovers of an earlier command: %v", err))
	}
}

// beginFilling is beginChange for a verb that fills the disk: a volume that is nearly full grows first.
func (m *Manager) beginFilling(ctx context.Context, verb string) error {
	m.beginChange(ctx, verb)
	return volume.Room(m.Home.Dir())
}

func (m *Manager) warn(text string) {
	if m.Warn != nil {
		m.Warn(text)
	}
}

func (m *Manager) notice(text string) {
	if m.Notice != nil {
		m.Notice(text)
	}
}

// FullHint is the cure for a full disk.
const FullHint = storage.FullHint

// file is a file of the VM's directory.
func (s *session) file(name string) string { return filepath.Join(s.dir, name) }
