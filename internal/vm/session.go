package vm

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"noid/internal/home"
	"noid/internal/link"
	"noid/internal/network"
	"noid/internal/proc"
	"noid/internal/vmm"
)

// session is what one verb has of one VM: its record, its driver, the client of its guest's agent, and its lock if the
// verb changes the VM.
type session struct {
	*Manager
	vm     home.VM
	verb   string // as the user typed it
	dir    string // the VM's directory
	driver vmm.Driver
	lock   *home.Lock      // nil for a verb that only looks
	net    *network.Config // of a VM that is made: what saveNet writes
	lease  *home.Lease     // of a VM that is made to go with this process; else nil
	hidden bool            // it is a clone in the staging area: see hiddenClone
	line   *link.Line      // to the agent, on which the next question is asked
	// packing is of a checkpoint that is being made; nil when its files are cloned.
	packing *packing
}

// open locks the VM name and ends a VMM that a killed command had no time to record. errs.ErrState is a VM that runs
// elsewhere. The caller closes the session.
func (m *Manager) open(ctx context.Context, name, verb string) (*session, error) {
	lock, err := m.Home.Lock(ctx, name, verb)
	if err != nil {
		return nil, err
	}
	s, err := m.look(name, verb)
	if err == nil && !s.vm.Process.Alive() {
		if err = killStray(ctx, s.dir); err == nil {
			err = mayChange(s.vm, s.dir, verb)
		}
	}
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	s.lock = lock
	s.removeLeftovers()
	return s, nil
}

// look is open without the lock.
func (m *Manager) look(name, verb string) (*session, error) {
	v, err := m.record(name)
	if err != nil {
		return nil, err
	}
	return m.of(v, verb)
}

// of is the session of verb for the VM whose record is v, without the lock.
func (m *Manager) of(v home.VM, verb string) (*session, error) {
	d, err := m.Drivers.Driver(v.Machine.Driver)
	if err != nil {
		return nil, err
	}
	return &session{Manager: m, vm: v, verb: verb, dir: m.Home.VMDir(v.Name), driver: d}, nil
}

func (s *session) close() {
	s.line.Close()
	s.lock.Unlock()
}

// save writes the record.
func (s *session) save() error { return s.Home.SaveVM(s.dir, s.vm) }

// removeLeftovers removes from the VM's directory what a killed or failed command has left there.
func (s *session) removeLeftovers() {
	s.Home.RemoveTemp(s.dir)
	network.RemoveTemp(s.dir)
	for _, file := range append([]string{vmm.MemorySnap, vmm.StateSnap}, s.driver.Scratch()...) {
		os.Remove(filepath.Join(s.dir, file))
	}
}

// record reads the record of name. A process in it that is not the VM's own is left out: nothing is asked of it, and it
// is not killed.
func (m *Manager) record(name string) (home.VM, error) {
	v, err := m.Home.LoadVM(name)
	m.dropForeign(&v)
	return v, err
}

func (m *Manager) dropForeign(v *home.VM) {
	if v.Process.Alive() && !v.Process.In(m.Home.VMDir(v.Name)) && v.Process.Alive() {
		v.Process = proc.Process{}
	}
}

// killStray ends what runs in dir without being recorded: noid was killed between starting a VMM and writing that down,
// or the record is damaged.
func killStray(ctx context.Context, dir string) error {
	for _, p := range vmm.FindIn(dir) {
		if err := p.Kill(ctx); err != nil {
			return err
		}
	}
	return nil
}

// agent returns a client of the agent in the guest. It connects to nothing yet, and does not care whether there is an
// agent.
func (s *session) agent() *link.Client { return s.agentIn(s.dir) }

// agentIn is agent for a VM whose directory is dir for now. The client follows it when the VM is renamed.
func (s *session) agentIn(dir string) *link.Client {
	here := s.dirs.hold(dir)
	return &link.Client{
		Dial: func(ctx context.Context) (net.Conn, error) {
			if _, err := os.Lstat(dir); here != nil && errors.Is(err, fs.ErrNotExist) {
				return inside(here, func(dir string) (net.Conn, error) { return s.driver.Connect(ctx, dir) })
			}
			return s.driver.Connect(ctx, dir)
		},
		Alive: s.alive(),
		Paused: func(ctx context.Context) bool {
			st, err := s.driver.State(ctx, dir)
			return err != nil || st != Running
		},
		Release: s.Version,
		Line:    s.line,
	}
}

// haltEvery is the time between two looks whether a guest has halted, which its VMM may outlive.
const haltEvery = 2 * time.Second

// alive returns a function that says whether the VMM lives and its guest has not halted, or the one that a restore in
// place has put there since: the client tells that one by its answers.
func (s *session) alive() func() bool {
	var mu sync.Mutex
	p, looked := s.vm.Process, time.Now()
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		if p.Alive() {
			if time.Since(looked) < haltEvery {
				return true
			}
			looked = time.Now()
			return s.driver.Ended(s.dir) != vmm.EndedPoweroff
		}
		v, err := s.Home.LoadVM(s.vm.Name)
		if err == nil && v.Process != (proc.Process{}) {
			p = v.Process
		}
		return p.Alive()
	}
}
