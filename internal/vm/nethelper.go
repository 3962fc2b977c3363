package vm

import (
	"path/filepath"

	"noid/internal/helper"
	"noid/internal/home"
	"noid/internal/network/program"
	"noid/internal/secret"
)

// NetworkHelper returns what the network helper of a VM in the user's home is run with: its program, unpacked there,
// the home's secrets and its networks between VMs.
func NetworkHelper() (*helper.Network, error) {
	dir, err := home.DefaultDir()
	if err != nil {
		return nil, err
	}
	unpack := func() (string, error) { return program.Unpack(filepath.Join(dir, home.ProgramsDir)) }
	return &helper.Network{Program: unpack, Secrets: secret.Store{Dir: dir}, Peers: filepath.Join(dir, home.NetworksDir)}, nil
}
