package boot

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"unicode/utf8"
)

// magics are the signatures that describe knows, tried in order.
var magics = []struct {
	offset int
	magic  string
	what   string
}{
	{0, gzipMagic, "gzip data"},
	{0, zstdMagic, "zstd data"},
	{0, xzMagic, "xz data"},
	{0, "BZh", "bzip2 data"},
	{0, "\x04\x22\x4d\x18", "lz4 data"},
	{0, lz4Magic, "lz4 data"},
	{0, "QFI\xfb", "a qcow2 disk image"},
	{0, "KDMV", "a VMDK disk image"},
	{0, "hsqs", "a squashfs file system image"},
	{0, "XFSB", "an xfs file system image"},
	{0, "PK\x03\x04", "a zip archive"},
	{0, "070701", "a cpio archive"},
	{0, "!<arch>\ndebian", "a Debian package"},
	{257, "ustar", "a tar archive"},
	{0x8001, "CD001", "an ISO 9660 image"},
	{0x10040, "_BHRfS_M", "a btrfs file system image"},
	{510, "\x55\xaa", "a disk image with a boot sector"},
}

// headLen covers the furthest signature, that of btrfs.
const headLen = 0x10048

// describe says what the file r is, as a noun phrase: "an ext4 file system image". It never fails: what it cannot read,
// it says so.
func describe(r io.ReaderAt) string {
	head, err := readHead(r)
	switch {
	case err != nil:
		return "unreadable"
	case len(head) == 0:
		return "empty"
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return describeELF(r)
	case isBzImage(head):
		return "a Linux kernel (bzImage)"
	case isARM64Image(head):
		return "a Linux kernel (arm64 Image)"
	}
	if sb, err := readExt4(r); err == nil {
		return sb.describe()
	}
	for _, m := range magics {
		if m.offset <= len(head) && bytes.HasPrefix(head[m.offset:], []byte(m.magic)) {
			return m.what
		}
	}
	switch {
	case isText(head):
		return "a text file"
	case len(bytes.Trim(head, "\x00")) == 0:
		return "all zeros at its start"
	}
	return "data of an unknown kind"
}

func describeELF(r io.ReaderAt) string {
	f, err := elf.NewFile(r)
	if err != nil {
		return "a damaged ELF file"
	}
	arch := archOf(f.Machine)
	if arch == "" {
		arch = f.Machine.String()
	}
	kind := "program"
	switch {
	case f.Type == elf.ET_REL:
		kind = "object file or kernel module"
	case looksLikeKernel(f):
		kind = "Linux kernel"
	}
	return fmt.Sprintf("an ELF %s for %s", kind, arch)
}

// isText accepts valid UTF-8 without control characters; a character cut off at the end is forgiven.
func isText(head []byte) bool {
	for len(head) > 0 {
		r, size := utf8.DecodeRune(head)
		if r == utf8.RuneError && size == 1 {
			return len(head) < utf8.UTFMax && !utf8.FullRune(head)
		}
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' && r != '\f' && r != '\x1b' {
			return false
		}
		head = head[size:]
	}
	return true
}

// readHead returns the first headLen bytes, fewer if the file ends before.
func readHead(r io.ReaderAt) ([]byte, error) {
	head := make([]byte, headLen)
	n, err := r.ReadAt(head, 0)
	if err == io.EOF {
		err = nil
	}
	return head[:n], err
}

// describeMode says what a file is that is not regular.
func describeMode(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}
