// Package drivers builds the drivers. It alone names them.
package drivers

import (
	"context"
	"strings"
	"sync"

	"noid/internal/errs"
	"noid/internal/kvm"
	"noid/internal/network/space"
	"noid/internal/vmm"
	"noid/internal/vmm/firecracker"
	"noid/internal/vmm/qemu"
)

// Config names the VMMs' programs. "" is the one that the host has installed.
type Config struct{ Firecracker, QEMU string }

// Set is one driver of each kind.
type Set struct {
	firecracker *firecracker.Driver
	qemu        *qemu.Driver
}

// New builds the drivers. It looks at nothing yet. startHelper starts the helper of the VM in dir, whose driver has
// that name, and need not wait for it. Nil: there is no way to start one.
func New(c Config, startHelper func(driver, dir string) error) *Set {
	s := &Set{firecracker.New(c.Firecracker), qemu.New(c.QEMU, RealKVM)}
	if startHelper != nil {
		s.qemu.Helper = func(dir string) error { return startHelper(s.qemu.Name(), dir) }
	}
	return s
}

func (s *Set) all() []vmm.Driver { return []vmm.Driver{s.firecracker, s.qemu} }

// Names are the words that --driver takes.
func Names() (names []string) {
	for _, d := range New(Config{}, nil).all() {
		names = append(names, d.Name())
	}
	return names
}

// Driver returns the driver called name, the same at each call. errs.ErrUsage where there is none.
func (s *Set) Driver(name string) (vmm.Driver, error) {
	for _, d := range s.all() {
		if d.Name() == name {
			return d, nil
		}
	}
	return nil, errs.New(errs.ErrUsage, "no driver %q", name).Hint("choose " + strings.Join(Names(), " or "))
}

// Choose names the driver that is best here: Firecracker where it can run guests well, else QEMU. It may ask
// Firecracker's binary for its version.
func (s *Set) Choose(ctx context.Context) string {
	if RealKVM() {
		if _, err := s.firecracker.Version(ctx); err == nil {
			return s.firecracker.Name()
		}
	}
	return s.qemu.Name()
}

// Emulates reports whether guests of the driver called name run without KVM here.
func (s *Set) Emulates(name string) bool { return name == s.qemu.Name() && !RealKVM() }

// CanRun refuses, with an errs.ErrHost, the driver called name where a Linux guest of it would not get up: Firecracker
// without a real KVM.
func (s *Set) CanRun(name string) error {
	if name != s.firecracker.Name() || RealKVM() {
		return nil
	}
	return errs.New(errs.ErrHost, "%s cannot run guests here: %w", name, realKVM()).
		Hint("choose --driver " + s.qemu.Name() + ", which runs guests without KVM, slowly; or use a host with KVM. 'noid doctor' says what this one has")
}

// CanNetwork refuses, with an errs.ErrHost, a VM with a network where this host cannot give it one. It takes some
// milliseconds.
func (s *Set) CanNetwork() error { return space.Available() }

// RealKVM reports whether guests run on this host's KVM at a speed worth having. The first call takes some
// milliseconds.
func RealKVM() bool { return realKVM() == nil }

// realKVM says why KVM is not.
var realKVM = sync.OnceValue(func() error {
	_, err := kvm.Check()
	return err
})
