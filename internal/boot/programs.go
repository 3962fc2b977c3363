package boot

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"noid/internal/errs"
)

// programs has noid-init and noid-agent for each architecture, as scripts/programs.sh packs them. Git ignores them: a
// plain 'go build' of a clean clone makes a noid without them.
var programs fs.FS = embedded

//go:embed all:programs
var embedded embed.FS

// architectures are those of the programs, in Go's words.
var architectures = []string{"amd64", "arm64"}

// maxProgram bounds an unpacked program, in bytes.
const maxProgram = 16 << 20

// HasPrograms reports whether noid was built with noid-init and noid-agent.
func HasPrograms() bool {
	for _, arch := range architectures {
		for _, name := range []string{"noid-init", "noid-agent"} {
			if _, err := fs.Stat(programs, packedPath(name, arch)); err != nil {
				return false
			}
		}
	}
	return true
}

func packedPath(name, arch string) string { return "programs/" + name + "-" + arch + ".gz" }

// packed returns the program name for arch as it is embedded. The error wraps errs.ErrHost: noid has no such program.
func packed(name, arch string) ([]byte, error) {
	data, err := fs.ReadFile(programs, packedPath(name, arch))
	switch {
	case err == nil:
		return data, nil
	case !slices.Contains(architectures, arch):
		return nil, errs.New(errs.ErrHost, "noid has no %s for %q kernels", name, arch)
	}
	return nil, errs.New(errs.ErrHost, "noid was built without %s for %s", name, arch).Hint("build noid with 'make build'")
}

// program returns cmd/noid-init or cmd/noid-agent for arch. The error wraps errs.ErrHost if noid has none.
func program(name, arch string) ([]byte, error) {
	data, err := packed(name, arch)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", name, err)
	}
	if data, err = io.ReadAll(io.LimitReader(z, maxProgram)); err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", name, err)
	}
	return data, nil
}
