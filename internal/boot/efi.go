package boot

import (
	"bytes"
	"debug/pe"
	"fmt"
	"io"
)

const (
	peMagic    = "MZ"
	zbootMagic = "zimg" // at 4: include/linux/pe.h, LINUX_PE_ZBOOT_MAGIC's end
)

// describeEFI says what an EFI program is that begins with head: a kernel that only firmware boots, mostly. It is ""
// for anything else.
func describeEFI(r io.ReaderAt, head []byte) (what, cure string) {
	if !bytes.HasPrefix(head, []byte(peMagic)) || len(head) < 64 {
		return "", ""
	}
	if string(head[4:8]) == zbootMagic { // drivers/firmware/efi/libstub/zboot-header.S
		start, length := le.Uint32(head[8:]), le.Uint32(head[12:])
		packer, _, _ := bytes.Cut(head[24:56], []byte{0})
		unpack, known := map[string]string{"gzip": "gunzip", "zstd": "zstd -d", "xzkern": "unxz", "lz4": "lz4 -d"}[string(packer)]
		if !known {
			return "a kernel that only EFI boots (zboot)", "give the Image that it was made of"
		}
		return "a kernel that only EFI boots (zboot)",
			fmt.Sprintf("unpack it: tail -c +%d KERNEL | head -c %d | %s >Image", int64(start)+1, length, unpack)
	}
	f, err := pe.NewFile(io.NewSectionReader(r, 0, 1<<40))
	if err != nil {
		return "", ""
	}
	if f.Section(".linux") != nil {
		return "a unified kernel image, which only EFI boots", "take its kernel out: objcopy -O binary --only-section=.linux IMAGE vmlinuz"
	}
	return "an EFI or Windows program", ""
}
