// Package tinyguest is a guest of some dozen instructions that boots in no time under both VMMs, even on a KVM that is
// too poor for Linux: for tests and benchmarks of what noid does around a guest. It has no disk driver and no agent, so
// with Kernel in tiny.elf it is made by
//
//	noid create NAME --kernel tiny.elf --rootfs ANY.ext4 --no-agent --mem 64
//
// It talks over its serial console, see Ask. What it is told before it has booted may be lost under QEMU, whose
// firmware empties the port. On KVM it costs a core while it waits, under QEMU's own emulation nothing. It prints "tiny
// ready" and then obeys lines:
//
//	s TOKEN  keep TOKEN, 31 bytes at most, in memory     token TOKEN
//	g        what is kept                                token TOKEN
//	c        how many lines it has obeyed                count N
//	d N      write a word to each page of N MiB, from    dirty N
//	         16 MiB on; another one each time
//	p N      write a word to each of N pages, 16384 at most, dirty N
//	         scattered over the 64 MiB from 16 MiB on
//	z N      write zeros over what d N has written        dirty N
//	h        reset the machine, which ends the VMM
package tinyguest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/vmm"
)

// Kernel returns the guest as an ELF kernel for x86-64 with a PVH entry, which QEMU boots and Firecracker since 1.12.
func Kernel() []byte {
	const (
		ehdr, phdr = 64, 56 // sizes, ELF-64
		noteAt     = ehdr + 2*phdr
		noteLen    = 12 + 4 + 8
		textAt     = 0x1000
	)
	text := slices.Concat(code, []byte(texts), moreCode)
	var out bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			binary.Write(&out, binary.LittleEndian, v) // to memory: it does not fail
		}
	}
	put([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9), uint16(2) /* ET_EXEC */, uint16(62) /* EM_X86_64 */, uint32(1),
		uint64(entry), uint64(ehdr), uint64(0), uint32(0), uint16(ehdr), uint16(phdr), uint16(2), uint16(64), uint16(0), uint16(0))
	put(uint32(1) /* PT_LOAD */, uint32(7), uint64(textAt), uint64(entry), uint64(entry), uint64(len(text)), uint64(len(text)), uint64(0x1000))
	put(uint32(4) /* PT_NOTE */, uint32(4), uint64(noteAt), uint64(0), uint64(0), uint64(noteLen), uint64(noteLen), uint64(4))
	put(uint32(4), uint32(8), uint32(18) /* XEN_ELFNOTE_PHYS32_ENTRY */, []byte("Xen\x00"), uint64(entry))
	put(make([]byte, textAt-out.Len()), text)
	return out.Bytes()
}

// answers are what a line's answer begins with.
var answers = map[byte]string{'s': "token ", 'g': "token ", 'c': "count ", 'd': "dirty ", 'p': "dirty ", 'z': "dirty "}

// Ask gives the guest in vmDir, a VM's directory, a line and returns its answer, without the newline. It needs no noid.
// After wait, or at once when no VMM reads the console, it fails: errs.ErrTimeout, errs.ErrState. One question at a
// time.
func Ask(vmDir, line string, wait time.Duration) (string, error) {
	log := filepath.Join(vmDir, vmm.SerialLogFile)
	before, err := os.Stat(log)
	if err != nil {
		return "", err
	}
	in, err := os.OpenFile(filepath.Join(vmDir, vmm.SerialInFile), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("asking the guest: %w: no VMM reads its console", errs.ErrState)
	} else if err != nil {
		return "", err
	}
	defer in.Close()
	if _, err := in.WriteString(line + "\n"); err != nil {
		return "", err
	}
	for deadline := time.Now().Add(wait); ; time.Sleep(time.Millisecond) {
		data, err := os.ReadFile(log)
		if err != nil {
			return "", err
		}
		if int64(len(data)) >= before.Size() { // else it was cut meanwhile
			data = data[before.Size():]
		}
		for said := range strings.Lines(string(data)) {
			if strings.HasPrefix(said, answers[line[0]]) && strings.HasSuffix(said, "\n") {
				return strings.TrimRight(said, "\r\n"), nil
			}
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("asking the guest %q: %w", line, errs.ErrTimeout)
		}
	}
}
