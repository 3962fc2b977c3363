package vmtest

import (
	"context"

	"noid/internal/errs"
	"noid/internal/vmm"
)

// Drivers has the fake driver alone. It implements vm.Drivers.
type Drivers struct {
	Fake     *Driver
	Emulated bool  // it is one that emulates
	Refuse   error // what CanRun returns
}

// Driver implements vm.Drivers.
func (d Drivers) Driver(name string) (vmm.Driver, error) {
	if name != Name {
		return nil, errs.New(errs.ErrUsage, "no driver %q", name)
	}
	return d.Fake, nil
}

// Choose implements vm.Drivers.
func (d Drivers) Choose(context.Context) string { return Name }

// Emulates implements vm.Drivers.
func (d Drivers) Emulates(string) bool { return d.Emulated }

// CanRun implements vm.Drivers.
func (d Drivers) CanRun(string) error { return d.Refuse }

// CanNetwork implements vm.Drivers.
func (d Drivers) CanNetwork() error { return d.Fake.NoNet }
