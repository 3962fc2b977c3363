package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"

	"noid/internal/vmm"
)

// Files in the VM's directory while a saved guest is loaded.
const (
	stubKernel = "stub.kernel"
	stubInitrd = "stub.initrd"
)

// Places in a bzImage: Linux's Documentation/arch/x86/boot.rst.
const (
	setupSects  = 0x1f1 // sectors of the real-mode code after the first, 0 stands for 4
	setupMagic  = 0x202 // "HdrS"
	sector      = 512
	longestStub = (1 + 255 + 8) * sector
)

// stub has machine boot from a kernel without its main part and from an empty initramfs, both in dir. QEMU reads both
// files whole at every start, for a firmware that asks for them at boot, which takes it some 20 ms and as many MiB: a
// guest that has booted never asks again, as -no-reboot makes its reset QEMU's end. The rest of the machine depends on
// the setup header alone. A kernel that is no bzImage stays as it is: QEMU puts it into the guest's memory itself.
func stub(dir string, machine *vmm.Machine) error {
	f, err := os.Open(machine.KernelPath)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, longestStub)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	if head = head[:n]; n < setupMagic+8 || !bytes.Equal(head[setupMagic:setupMagic+4], []byte("HdrS")) || binary.LittleEndian.Uint16(head[setupMagic+4:]) < 0x200 {
		return nil
	}
	sects := int(head[setupSects])
	if sects == 0 {
		sects = 4
	}
	machine.KernelPath = filepath.Join(dir, stubKernel)
	if err := os.WriteFile(machine.KernelPath, head[:min(n, (1+sects+8)*sector)], 0o400); err != nil {
		return err
	}
	if machine.InitrdPath != "" {
		machine.InitrdPath = filepath.Join(dir, stubInitrd)
		return os.WriteFile(machine.InitrdPath, []byte{0}, 0o400)
	}
	return nil
}
