// Package vm is what noid means by its verbs: create, start, stop, checkpoint, restore, forget and destroy, said once for
// every driver. Each verb takes the VM's lock, prepares the new thing aside, publishes it by a rename and only then removes
// the old one, so that it may be killed at any point.
package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/manifest"
	"noid/internal/proc"
	"noid/internal/vmm"
)

// The states of a VM beside vmm.Running and vmm.Paused. They are derived at each look, never stored.
const (
	Stopped vmm.State = "stopped" // the guest powered off, or noid stopped it
	Dead    vmm.State = "dead"    // the VMM is gone though nobody stopped it
	Broken  vmm.State = "broken"  // the record is damaged
)

// Driver drives one kind of VMM.
type Driver = vmm.Driver

// Manager carries out verbs on the VMs of one home.
type Manager struct {
	Home *home.Home
	// Driver returns the driver called name, configured.
	Driver func(name string) (Driver, error)
	// Helper is the command of a VM's helper, for helper.Start. Empty for none.
	Helper []string
	// PauseGuard is the command that has a VM run again should noid be killed while it is paused for a checkpoint, to which
	// its name and its VMM's pid, start time and boot id are appended; its stdin is the pipe. Empty for none.
	PauseGuard []string
	// Warn takes what went wrong without failing a verb. Nil drops it.
	Warn func(string)
	// Version is noid's own, for manifests.
	Version string
}

// open locks the VM, loads its record and ends a VMM that a killed 'start' had no time to record: perhaps it was not even
// told what to boot.
func (m *Manager) open(ctx context.Context, name, verb string) (home.VM, Driver, *home.Lock, error) {
	if err := home.CheckName(name); err != nil {
		return home.VM{}, nil, nil, err
	}
	lock, err := m.Home.Lock(ctx, name, verb)
	if err != nil {
		return home.VM{}, nil, nil, err
	}
	v, err := m.load(name)
	if err != nil {
		lock.Unlock()
		return home.VM{}, nil, nil, err
	}
	d, err := m.Driver(v.Machine.Driver)
	if err != nil {
		lock.Unlock()
		return home.VM{}, nil, nil, err
	}
	if !v.Process.Alive() {
		if err := killStray(ctx, m.Home.VMDir(name)); err != nil {
			lock.Unlock()
			return home.VM{}, nil, nil, err
		}
	}
	m.tidy(d, name)
	return v, d, lock, nil
}

// tidy removes from the VM's directory what a killed or failed command has left there. The lock is held.
func (m *Manager) tidy(d Driver, name string) {
	dir := m.Home.VMDir(name)
	m.Home.RemoveTemp(dir)
	for _, file := range append([]string{vmm.MemorySnap, vmm.StateSnap}, d.Scratch()...) {
		os.Remove(filepath.Join(dir, file))
	}
}

// load reads the record of name. A process that it names and that is not the VM's own is left out: nothing is asked of it,
// and it is not killed.
func (m *Manager) load(name string) (home.VM, error) {
	v, err := m.Home.LoadVM(name)
	m.disown(&v)
	return v, err
}

func (m *Manager) disown(v *home.VM) {
	if v.Process.Alive() && !v.Process.In(m.Home.VMDir(v.Name)) && v.Process.Alive() {
		v.Process = proc.Process{}
	}
}

// killStray ends what runs in dir without being recorded: noid was killed between starting a VMM and writing that down, or the record
// is damaged.
func killStray(ctx context.Context, dir string) error {
	for _, p := range vmm.FindIn(dir) {
		if err := p.Kill(ctx); err != nil {
			return err
		}
	}
	return nil
}

// state derives the state of v, asking its VMM when it lives.
func state(ctx context.Context, d Driver, dir string, v home.VM) vmm.State {
	return stateWithin(ctx, d, dir, v, 0)
}

// certainWait is how long a verb that is about to change a VM waits for the word of its VMM: on a busy host one look is not
// enough, and a paused guest taken for a running one would be set going.
const certainWait = 10 * time.Second

// certain is state for a verb that holds the VM's lock.
func certain(ctx context.Context, d Driver, dir string, v home.VM) vmm.State {
	return stateWithin(ctx, d, dir, v, certainWait)
}

func stateWithin(ctx context.Context, d Driver, dir string, v home.VM, wait time.Duration) vmm.State {
	deadline := time.Now().Add(wait)
	for v.Process.Alive() {
		if d.Ended(dir) == vmm.EndedPoweroff { // Firecracker outlives its halted guest
			return Stopped
		}
		st, err := d.State(ctx, dir)
		if err == nil {
			return st
		}
		// It is there, but does not answer in time: busy with another noid, or on a busy host. Else it answers no more.
		if v.Process.Alive() && (!errors.Is(err, errs.ErrTimeout) || ctx.Err() != nil || time.Now().After(deadline)) {
			return vmm.Running
		}
		time.Sleep(20 * time.Millisecond)
	}
	if v.StopRequested {
		return Stopped
	}
	switch d.Ended(dir) {
	case vmm.EndedPoweroff, vmm.EndedReboot:
		return Stopped
	}
	return Dead
}

// Info is a VM and its state.
type Info struct {
	home.VM
	State vmm.State
	Err   error // why it is Broken
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
		d, err := m.Driver(e.Machine.Driver)
		if err != nil {
			infos[i].State, infos[i].Err = Broken, err
			continue
		}
		if e.Process.Alive() { // its VMM is asked, which may take its time
			wg.Go(func() {
				m.disown(&infos[i].VM)
				infos[i].State = state(ctx, d, m.Home.VMDir(e.Name), infos[i].VM)
			})
		} else {
			infos[i].State = state(ctx, d, m.Home.VMDir(e.Name), e.VM)
		}
	}
	wg.Wait()
	return infos, nil
}

// Get returns one VM with its state. It takes no lock.
func (m *Manager) Get(ctx context.Context, name string) (Info, error) {
	if err := home.CheckName(name); err != nil {
		return Info{}, err
	}
	v, err := m.load(name)
	if broken, ok := errors.AsType[*manifest.BrokenError](err); ok {
		return Info{VM: home.VM{Name: name}, State: Broken, Err: broken}, nil
	} else if err != nil {
		return Info{}, err
	}
	d, err := m.Driver(v.Machine.Driver)
	if err != nil {
		return Info{}, err
	}
	return Info{VM: v, State: state(ctx, d, m.Home.VMDir(name), v)}, nil
}

// Alive returns a function that says whether the VMM of v still runs.
func (i Info) Alive() func() bool { return i.Process.Alive }

func notRunning(name string, st vmm.State, verb string) error {
	err := errs.New(errs.ErrState, "%s of vm %q, which is not running: it is %s", verb, name, st)
	if st == Dead {
		return errs.WithHint(err, "'noid logs --vmm "+name+"' shows why it died, 'noid start "+name+"' boots it from its disk")
	}
	return errs.WithHint(err, "boot it with 'noid start "+name+"'")
}

// endingWait is how long a VMM takes at most from closing its socket to its end.
const endingWait = 200 * time.Millisecond

// ended makes err one of the VM's state where v's VMM has ended since that was looked at: its guest powered off, say.
func ended(v home.VM, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	wait, cancel := context.WithTimeout(context.Background(), endingWait)
	defer cancel()
	if v.Process.Wait(wait) == nil {
		return errs.New(errs.ErrState, "vm %q ended meanwhile: %w", v.Name, err).Hint("boot it with 'noid start " + v.Name + "'")
	}
	return err
}

// settleWait bounds what settle is for.
const settleWait = 30 * time.Second

// settle is a context for what must be done even when ctx has ended: letting a VM run again, killing a half-started one.
func settle(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleWait)
}

func (m *Manager) warn(text string) {
	if m.Warn != nil {
		m.Warn(text)
	}
}
