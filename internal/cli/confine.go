package cli

import (
	"noid/internal/confine"
	"noid/internal/vm"
	"noid/internal/vmm"
)

// confinement is what holds of a running VM's VMM, or nil.
func confinement(i vm.Info) *confine.Holds {
	if i.State != vmm.Running && i.State != vmm.Paused || !i.Process.Alive() {
		return nil
	}
	holds, err := confine.Of(i.Process.PID)
	if err != nil {
		return nil
	}
	return &holds
}
