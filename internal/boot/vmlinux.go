package boot

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
)

// vmlinuxLimits bound what a kernel may unpack to: distributions' kernels are 30 to 80 MiB. Linux is packed with zstd's
// --ultra -22, whose window is 128 MiB, and with an xz dictionary of 32 MiB.
var vmlinuxLimits = limits{window: 128 << 20, size: 1 << 30}

// errPacking is a payload that noid cannot unpack.
var errPacking = errors.New("the payload is packed in a way noid does not know")

// ExtractVmlinux writes the ELF kernel that the bzImage at path carries. It copies a kernel that is unpacked already.
// What it has written when it fails is worthless.
func ExtractVmlinux(w io.Writer, path string) error {
	f, err := kernelInput.open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := extract(w, f, info.Size()); err != nil {
		return fmt.Errorf("extracting the kernel in %q: %w", path, err)
	}
	return nil
}

func extract(w io.Writer, r io.ReaderAt, size int64) error {
	head, err := readHead(r)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(head, []byte(elf.ELFMAG)) || isARM64Image(head) {
		_, err := copyBounded(w, io.NewSectionReader(r, 0, size))
		return err
	}
	if !isBzImage(head) {
		what, _ := describe(r)
		return fmt.Errorf("not a bzImage: it is %s", what)
	}
	payload, err := payloadOf(head, r, size)
	if err != nil {
		return err
	}
	// The last four bytes of a packed payload are the unpacked size. They are gzip's own trailer. The other formats
	// do not know them.
	var start, trailer [4]byte
	if _, err := payload.ReadAt(start[:], 0); err != nil {
		return err
	}
	if _, err := payload.ReadAt(trailer[:], payload.Size()-4); err != nil {
		return err
	}
	length := payload.Size()
	if !bytes.HasPrefix(start[:], []byte(gzipMagic)) && string(start[:]) != elf.ELFMAG {
		length -= 4
	}
	raw, packed, err := decompressor(bufio.NewReader(io.NewSectionReader(payload, 0, length)), vmlinuxLimits)
	if err != nil {
		return err
	}
	defer raw.Close()
	out := bufio.NewReader(raw)
	if start, err := out.Peek(4); err != nil && err != io.EOF {
		return fmt.Errorf("unpacking: %w", err)
	} else if string(start) != elf.ELFMAG && packed {
		return errors.New("the payload is no ELF kernel")
	} else if string(start) != elf.ELFMAG {
		return fmt.Errorf("%w (it begins with %x)", errPacking, start)
	}
	n, err := copyBounded(w, out)
	if err != nil {
		return err
	}
	if want := le.Uint32(trailer[:]); packed && uint32(n) != want {
		return fmt.Errorf("unpacked to %d bytes instead of %d: the file is damaged", n, want)
	}
	return nil
}

// payloadOf returns the compressed kernel inside a bzImage of the given size.
func payloadOf(head []byte, r io.ReaderAt, size int64) (*io.SectionReader, error) {
	if le.Uint16(head[offProtocol:]) < 0x208 {
		return nil, errors.New("its boot protocol is older than 2.08 (Linux 2.6.26)")
	}
	sects := int64(head[offSetupSects])
	if sects == 0 {
		sects = 4 // boot.rst: for compatibility
	}
	start := (sects+1)*512 + int64(le.Uint32(head[offPayload:]))
	length := int64(le.Uint32(head[offPayloadLength:]))
	if length < 16 || start+length > size {
		return nil, fmt.Errorf("the payload (%d bytes at %d) does not lie in the file (%d bytes): it is truncated or damaged", length, start, size)
	}
	return io.NewSectionReader(r, start, length), nil
}

// copyBounded copies at most vmlinuxLimits.size bytes and fails on more.
func copyBounded(w io.Writer, r io.Reader) (int64, error) {
	n, err := io.Copy(w, io.LimitReader(r, vmlinuxLimits.size+1))
	if err == nil && n > vmlinuxLimits.size {
		err = fmt.Errorf("it unpacks to more than %d MiB", vmlinuxLimits.size>>20)
	}
	if err != nil {
		return n, fmt.Errorf("unpacking: %w", err)
	}
	return n, nil
}
