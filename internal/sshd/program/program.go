// Package program has the guest's SSH server, noid-sshd, which noid embeds and puts into a guest when it is first
// needed there.
package program

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"noid/internal/errs"
)

// name is the program's, and the beginning of its files' names.
const name = "noid-sshd"

// maxProgram bounds the unpacked program, in bytes.
const maxProgram = 64 << 20

// digits are how many of a digest's are in a name.
const digits = 16

func sub(f fs.FS, dir string) fs.FS {
	f, _ = fs.Sub(f, dir) // the name is valid
	return f
}

// Name returns the name that the program has in a guest, which tells its contents. The error wraps errs.ErrHost: noid
// has no such program.
func Name() (string, error) {
	digest, err := fs.ReadFile(files, name+".sha256")
	if err != nil || len(digest) < digits {
		return "", without()
	}
	return name + "-" + strings.TrimSpace(string(digest))[:digits], nil
}

// Unpack returns the program. The error wraps errs.ErrHost: noid has no such program.
func Unpack() ([]byte, error) {
	packed, err := fs.ReadFile(files, name+".gz")
	if err != nil {
		return nil, without()
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", name, err)
	}
	data, err := io.ReadAll(io.LimitReader(z, maxProgram))
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", name, err)
	}
	return data, nil
}

func without() error {
	return errs.New(errs.ErrHost, "noid was built without %s", name).Hint("build noid with 'make build'")
}
