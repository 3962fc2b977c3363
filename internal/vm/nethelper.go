package vm

import (
	"path/filepath"

	"noid/internal/home"
	"noid/internal/network/program"
)

// NetworkHelper returns the path of the network helper's program in the user's home, unpacked.
func NetworkHelper() (string, error) {
	dir, err := home.DefaultDir()
	if err != nil {
		return "", err
	}
	return program.Unpack(filepath.Join(dir, home.ProgramsDir))
}
