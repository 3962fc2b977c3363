// Package boot owns what a VM boots from: it tells kernels and ext4 images from anything else, extracts the ELF from a
// bzImage, and makes the initramfs of noid-init, the kernel's modules and noid-agent. The root file system needs nothing
// of noid in it. Kernels and images are untrusted input: every length that a header states is checked against the file
// and against a bound.
package boot

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed" // for the programs
	"fmt"
	"io"

	"noid/internal/errs"
)

// The programs are committed, so that a plain go build of a clean clone makes a complete noid. gen.go makes them anew.
//
//go:generate go run gen.go
var (
	//go:embed bin/noid-init-amd64.gz
	initAMD64 []byte
	//go:embed bin/noid-init-arm64.gz
	initARM64 []byte
	//go:embed bin/noid-agent-amd64.gz
	agentAMD64 []byte
	//go:embed bin/noid-agent-arm64.gz
	agentARM64 []byte
)

// maxProgram bounds an unpacked program, in bytes.
const maxProgram = 16 << 20

// packed returns noid-init and noid-agent for arch as they are embedded.
func packed(arch string) (init, agent []byte, err error) {
	switch arch {
	case "amd64":
		return initAMD64, agentAMD64, nil
	case "arm64":
		return initARM64, agentARM64, nil
	}
	return nil, nil, fmt.Errorf("no noid-init for %q kernels: %w", arch, errs.ErrHost)
}

// InitBinary returns cmd/noid-init for arch, "amd64" or "arm64". For another it wraps errs.ErrHost.
func InitBinary(arch string) ([]byte, error) {
	init, _, err := packed(arch)
	if err != nil {
		return nil, err
	}
	return unpack("noid-init", init)
}

// AgentBinary returns cmd/noid-agent for arch, "amd64" or "arm64". For another it wraps errs.ErrHost.
func AgentBinary(arch string) ([]byte, error) {
	_, agent, err := packed(arch)
	if err != nil {
		return nil, err
	}
	return unpack("noid-agent", agent)
}

func unpack(name string, data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", name, err)
	}
	if data, err = io.ReadAll(io.LimitReader(z, maxProgram)); err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", name, err)
	}
	return data, nil
}

// programsHash identifies the programs of an initramfs without unpacking them.
func programsHash(arch string, withAgent bool) ([]byte, error) {
	init, agent, err := packed(arch)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(init)
	hash := sum[:]
	if withAgent {
		sum := sha256.Sum256(agent)
		hash = append(hash, sum[:]...)
	}
	return hash, nil
}
