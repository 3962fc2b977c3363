package vm

import (
	"context"
	"sync"

	"noid/internal/home"
	"noid/internal/vmm"
)

// Info is a VM and its state.
type Info struct {
	home.VM
	State State
	Err   error  // why it is Broken
	Why   string // why it is Paused, where nobody asked for that
}

// Up reports whether the VM has a guest, running or paused.
func (i Info) Up() bool { return i.State == Running || i.State == Paused }

// Info returns the VM name and its state.
func (m *Manager) Info(ctx context.Context, name string) (Info, error) {
	s, err := m.look(name, "list")
	if err != nil {
		return Info{}, err
	}
	i := Info{VM: s.vm}
	i.look(ctx, s.driver, s.dir)
	return i, nil
}

// look derives the state of the VM in dir.
func (i *Info) look(ctx context.Context, d vmm.Driver, dir string) {
	if i.State = stateWithin(ctx, d, dir, i.VM, 0); i.State == Paused {
		i.Why = d.WhyPaused(dir)
	}
}

// List returns all VMs with their states. Of their records it has what home.VM.Brief leaves.
func (m *Manager) List(ctx context.Context) ([]Info, error) {
	entries, err := m.Home.ListVMs(ctx)
	if err != nil {
		return nil, err
	}
	infos := make([]Info, len(entries))
	var wg sync.WaitGroup
	for i, e := range entries {
		infos[i] = Info{VM: e.VM, Err: e.Err}
		if e.Err != nil {
			infos[i].State = Broken
			continue
		}
		d, err := m.Drivers.Driver(e.Machine.Driver)
		if err != nil {
			infos[i].State, infos[i].Err = Broken, err
			continue
		}
		if e.Process.Alive() { // its VMM is asked, which may take its time
			wg.Go(func() {
				m.dropForeign(&infos[i].VM)
				infos[i].look(ctx, d, m.Home.VMDir(e.Name))
			})
		} else {
			infos[i].look(ctx, d, m.Home.VMDir(e.Name))
		}
	}
	wg.Wait()
	return infos, nil
}
