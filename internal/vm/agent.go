package vm

import (
	"context"
	"net"
	"sync"

	"noid/internal/home"
	"noid/internal/link"
	"noid/internal/proc"
)

// Agent returns a client of the agent in the guest of info. It connects to nothing yet, and does not care whether there is
// an agent.
func (m *Manager) Agent(info Info) (*link.Client, error) {
	return m.agentIn(m.Home.VMDir(info.Name), info)
}

// agentIn is Agent for a VM whose directory is dir.
func (m *Manager) agentIn(dir string, info Info) (*link.Client, error) {
	d, err := m.Driver(info.Machine.Driver)
	if err != nil {
		return nil, err
	}
	return &link.Client{
		Dial:    func(ctx context.Context) (net.Conn, error) { return d.Connect(ctx, dir) },
		Alive:   m.successor(info),
		Release: m.Version,
	}, nil
}

// successor returns a function that says whether the VMM of info lives, or the one that a restore in place has put there
// since: that one is told to the client by its answers.
func (m *Manager) successor(info Info) func() bool {
	var mu sync.Mutex
	p := info.Process
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		if p.Alive() {
			return true
		}
		v, err := m.Home.LoadVM(info.Name)
		if err == nil && v.Process != (proc.Process{}) {
			p = v.Process
		}
		return p.Alive()
	}
}

// Recorded returns what vm.json says of a VM, without a look at its state: State is empty. An error is LoadVM's.
func (m *Manager) Recorded(name string) (Info, error) {
	if err := home.CheckName(name); err != nil {
		return Info{}, err
	}
	v, err := m.Home.LoadVM(name)
	return Info{VM: v}, err
}
