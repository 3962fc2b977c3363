// Package boot owns what a VM boots from: it tells kernels and ext4 images from anything else, extracts the ELF from a
// bzImage, and makes the initramfs of noid-init, the kernel's modules and noid-agent. The root file system needs
// nothing of noid in it. Kernels and images are untrusted input: every length that a header states is checked against
// the file and against a bound.
package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

var le = binary.LittleEndian

// An input is a file that the user named.
type input struct {
	role string // what noid uses it for
	kind string // what it has to be, with its article
}

var (
	kernelInput = input{"kernel", "a kernel"}
	rootfsInput = input{"rootfs", "an ext4 image"}
)

// open opens path for reading if it is a regular file. The error wraps errs.ErrNotFound if there is none.
func (in input) open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO would block the open for ever
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, errs.New(errs.ErrNotFound, "%s not found: %s", in.role, path)
	}
	var info fs.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	if err != nil {
		f.Close()
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err // it would repeat the path
		}
		return nil, fmt.Errorf("reading %s %q: %w", in.role, path, err)
	}
	if mode := info.Mode(); !mode.IsRegular() {
		f.Close()
		return nil, in.isNot(path, describeMode(mode), "")
	}
	return f, nil
}

// isNot is the error of a file that is something else: what, a noun phrase. cure may be "".
func (in input) isNot(path, what, cure string) error {
	return errs.WithHint(fmt.Errorf("%q is not %s: it is %s", path, in.kind, what), cure)
}
