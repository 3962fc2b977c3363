package vm

import (
	"cmp"
	"context"
	"errors"
	"os"

	"noid/internal/confine"
	"noid/internal/home"
	"noid/internal/link/wire"
	"noid/internal/manifest"
	"noid/internal/vmm"
)

// Guest is what a guest says of itself. Its text is the guest's: not fit for a terminal before it went through package
// untrusted.
type Guest = wire.Info

// Confinement is what confines a VMM.
type Confinement = confine.Holds

// Details are all that is known of a VM.
type Details struct {
	Info
	Dir         string       // the VM's directory
	DiskBytes   int64        // how long its own disk is
	Guest       *Guest       // nil when the agent does not answer
	Confinement *Confinement // nil when the VMM does not run
	Network     Network
}

// Inspect returns all that is known of name. It takes no lock and asks the guest for a second at most.
func (m *Manager) Inspect(ctx context.Context, name string) (Details, error) {
	s, err := m.look(name, "inspect")
	if broken, ok := errors.AsType[*manifest.BrokenError](err); ok {
		return Details{Info: Info{VM: home.VM{Name: name}, State: Broken, Err: broken}, Dir: m.Home.VMDir(name)}, nil
	} else if err != nil {
		return Details{}, err
	}
	m.findBootFiles(&s.vm.Machine, nil) // where they are now, in a home that was moved
	d := Details{Info: Info{VM: s.vm}, Dir: s.dir}
	if info, err := os.Lstat(s.file(vmm.RootfsFile)); err == nil {
		d.DiskBytes = info.Size()
	}
	d.look(ctx, s.driver, s.dir)
	if d.State == Running && s.vm.Machine.Agent {
		ask, cancel := context.WithTimeout(ctx, freezeWait)
		defer cancel()
		if guest, err := s.agent().Info(ask); err == nil {
			d.Guest = &guest
		}
	}
	if d.Network, err = s.network(ctx); err != nil {
		d.Err = cmp.Or(d.Err, err)
	}
	if d.Up() && s.vm.Process.Alive() {
		if holds, err := confine.Of(s.vm.Process.PID); err == nil {
			d.Confinement = &holds
		}
	}
	return d, nil
}
