// Package guest makes the initramfs that noid boots its VMs with: cmd/noid-init as /init and the kernel modules that the
// root filesystem's disk and noid's devices need. The root filesystem itself needs nothing of noid in it.
package guest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed" // for the binaries of noid-init
	"fmt"
	"io"

	"noid/internal/errs"
)

// The binaries are committed, so that a plain go build of a clean clone makes a complete noid. gen.go makes them anew.
//
//go:generate go run gen.go
var (
	//go:embed bin/noid-init-amd64.gz
	initAMD64 []byte
	//go:embed bin/noid-init-arm64.gz
	initARM64 []byte
)

// maxInit bounds the unpacked binary, in bytes.
const maxInit = 16 << 20

func packedInit(arch string) ([]byte, error) {
	switch arch {
	case "amd64":
		return initAMD64, nil
	case "arm64":
		return initARM64, nil
	}
	return nil, fmt.Errorf("no noid-init for %q kernels: %w", arch, errs.ErrHost)
}

// InitBinary returns cmd/noid-init for arch, "amd64" or "arm64". For another it wraps errs.ErrHost.
func InitBinary(arch string) ([]byte, error) {
	packed, err := packedInit(arch)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpacking noid-init: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(z, maxInit))
	if err != nil {
		return nil, fmt.Errorf("unpacking noid-init: %w", err)
	}
	return data, nil
}

// initHash identifies the binary for arch without unpacking it.
func initHash(arch string) ([sha256.Size]byte, error) {
	packed, err := packedInit(arch)
	return sha256.Sum256(packed), err
}
