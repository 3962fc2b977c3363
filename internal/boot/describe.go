package boot

import (
	"bytes"
	"cmp"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"unicode/utf8"
)

// magics are the signatures that describe knows, tried in order, and what makes of such a file one that noid takes.
var magics = []struct {
	offset     int
	magic      string
	what, cure string
}{
	{0, gzipMagic, "gzip data", "unpack it with gunzip"},
	{0, zstdMagic, "zstd data", "unpack it with 'zstd -d'"},
	{0, xzMagic, "xz data", "unpack it with unxz"},
	{0, "BZh", "bzip2 data", "unpack it with bunzip2"},
	{0, "\x04\x22\x4d\x18", "lz4 data", "unpack it with 'lz4 -d'"},
	{0, lz4Magic, "lz4 data", "unpack it with 'lz4 -d'"},
	{0, "QFI\xfb", "a qcow2 disk image", toRaw},
	{0, "KDMV", "a VMDK disk image", toRaw},
	{0, "conectix", "a VHD disk image", toRaw},
	{0, "vhdxfile", "a VHDX disk image", toRaw},
	{0, "hsqs", "a squashfs file system image", "unpack it with unsquashfs, and " + toExt4},
	{0, "LUKS\xba\xbe", "an image encrypted with LUKS", "'cryptsetup open' it, and copy the file system out: dd if=/dev/mapper/NAME of=ROOTFS bs=1M conv=sparse"},
	{0x200, "LABELONE", "an LVM physical volume", "copy the logical volume out: dd if=/dev/GROUP/VOLUME of=ROOTFS bs=1M conv=sparse"},
	{0x40, "\x7f\x10\xda\xbe", "a VDI disk image", toRaw},
	{0x400, "\x10\x20\xf5\xf2", "an f2fs file system image", mountIt},
	{0, "XFSB", "an xfs file system image", mountIt},
	{0, "PK\x03\x04", "a zip archive", "unpack it with unzip"},
	{0, "070701", "a cpio archive", "unpack it, and " + toExt4},
	{0, "!<arch>\ndebian", "a Debian package", "unpack it with 'dpkg-deb -x'"},
	{257, "ustar", "a tar archive", "unpack it, and " + toExt4},
	{0x400, "\xe2\xe1\xf5\xe0", "an erofs file system image", mountIt},
	{0x8001, "CD001", "an ISO 9660 image", mountIt},
	{0x10040, "_BHRfS_M", "a btrfs file system image", mountIt},
	{512, gptMagic, "a disk image with partitions", ""},
	{510, mbrMagic, "a disk image with partitions or a boot sector", ""},
}

// The cures of several.
const (
	toRaw   = "make a raw image of it with 'qemu-img convert -O raw'"
	toExt4  = "make an image of its files with 'mke2fs -t ext4 -d DIR IMAGE 1G'"
	mountIt = "mount it, and " + toExt4
)

// headLen covers the furthest signature, that of btrfs.
const headLen = 0x10048

// describe says what the file r is, as a noun phrase: "an ext4 file system image", and the cure if there is one. It
// never fails: what it cannot read, it says so.
func describe(r io.ReaderAt) (what, cure string) {
	head, err := readHead(r)
	switch {
	case err != nil:
		return "unreadable", ""
	case len(head) == 0:
		return "empty", ""
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return describeELF(r), ""
	case isBzImage(head):
		return "a Linux kernel (bzImage)", ""
	case isARM64Image(head):
		return "a Linux kernel (arm64 Image)", ""
	}
	if sb, err := readExt4(r); err == nil {
		return sb.describe(), ""
	}
	if what, cure := describeEFI(r, head); what != "" {
		return what, cure
	}
	for _, m := range magics {
		if m.offset <= len(head) && bytes.HasPrefix(head[m.offset:], []byte(m.magic)) {
			return m.what, cmp.Or(m.cure, partitionCure(r, head))
		}
	}
	switch {
	case isText(head):
		return "a text file", ""
	case len(bytes.Trim(head, "\x00")) == 0:
		return "all zeros at its start", ""
	}
	return "data of an unknown kind", ""
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
