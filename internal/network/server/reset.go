package server

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/untrusted"
)

// maxFlows bounds the file of flows, in bytes.
const maxFlows = 4 << 20

// reset has the guest learn that the connections of network.FlowsFile are gone, once. Without it the guest learns it
// when it next uses them.
func (s *Server) reset() {
	flows, err := readFlows()
	if err == nil {
		s.stack.Reset(flows)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		os.Remove(filepath.Join(network.HelperDir, network.FlowsFile))
	}
}

func readFlows() (flows []control.Flow, err error) {
	f, err := untrusted.Open(network.HelperDir, network.FlowsFile, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	err = json.NewDecoder(io.LimitReader(f, maxFlows)).Decode(&flows)
	return flows, err
}
