package boot

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"strings"

	"noid/internal/lazy"
)

// Format is how a kernel image is packed.
type Format string

// The formats that InspectKernel tells apart.
const (
	ELF        Format = "elf"     // vmlinux, which Firecracker boots on x86
	BzImage    Format = "bzimage" // what distributions call vmlinuz on x86; QEMU boots it
	ARM64Image Format = "image"   // the flat arm64 Image, which both VMMs boot
)

// Kernel is what InspectKernel learned.
type Kernel struct {
	Format  Format
	Version string // as uname -r prints it, such as "6.1.0-42-cloud-amd64"; "" when the file does not tell
	Arch    string // in Go's words: "amd64", "arm64", "386"
}

// maxScan bounds the search for the version string in an uncompressed kernel, in bytes.
const maxScan = 256 << 20

// InspectKernel says which kernel is at path. A missing file wraps errs.ErrNotFound; for anything else the error says
// what the file is instead.
func InspectKernel(path string) (Kernel, error) {
	f, err := kernelInput.open(path)
	if err != nil {
		return Kernel{}, err
	}
	defer f.Close()
	k, ok, err := inspect(f)
	if err != nil {
		return Kernel{}, fmt.Errorf("reading kernel %q: %w", path, err)
	}
	if !ok {
		what, cure := describe(f)
		if !strings.Contains(what, "EFI") && !strings.HasSuffix(what, " data") { // it is one for a root file system
			cure = ""
		}
		return Kernel{}, kernelInput.isNot(path, what, cure)
	}
	return k, nil
}

func inspect(r io.ReaderAt) (k Kernel, ok bool, err error) {
	head, err := readHead(r)
	if err != nil {
		return Kernel{}, false, err
	}
	switch {
	case isBzImage(head):
		return inspectBzImage(head), true, nil
	case isARM64Image(head):
		return Kernel{Format: ARM64Image, Arch: "arm64", Version: scanVersion(r)}, true, nil
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		f, err := elf.NewFile(r)
		if err != nil || archOf(f.Machine) == "" || !looksLikeKernel(f) {
			return Kernel{}, false, nil
		}
		return Kernel{Format: ELF, Arch: archOf(f.Machine), Version: scanVersion(r)}, true, nil
	}
	return Kernel{}, false, nil
}

// Offsets of the x86 setup header, from the start of the file: Documentation/arch/x86/boot.rst.
const (
	offSetupSects    = 0x1f1
	offBootFlag      = 0x1fe
	offHeader        = 0x202
	offProtocol      = 0x206
	offKernelVersion = 0x20e
	offXLoadFlags    = 0x236
	offPayload       = 0x248
	offPayloadLength = 0x24c
	setupHeaderEnd   = 0x250
)

func isBzImage(head []byte) bool {
	return len(head) >= setupHeaderEnd && le.Uint16(head[offBootFlag:]) == 0xaa55 &&
		string(head[offHeader:offHeader+4]) == "HdrS"
}

func inspectBzImage(head []byte) Kernel {
	k := Kernel{Format: BzImage, Arch: "386"}
	// xloadflags bit 0, XLF_KERNEL_64: protocol 2.12.
	if le.Uint16(head[offProtocol:]) >= 0x20c && le.Uint16(head[offXLoadFlags:])&1 != 0 {
		k.Arch = "amd64"
	}
	// The pointer to the version is relative to 0x200; zero means none.
	if p := int(le.Uint16(head[offKernelVersion:])); p != 0 && 0x200+p < len(head) {
		text := head[0x200+p:]
		text = text[:min(len(text), 256)]
		if end := bytes.IndexAny(text, " \x00"); end > 0 && cleanVersion().Match(text[:end]) {
			k.Version = string(text[:end])
		}
	}
	return k
}

// isARM64Image looks for the magic of Documentation/arch/arm64/booting.rst.
func isARM64Image(head []byte) bool {
	return len(head) >= 64 && string(head[0x38:0x3c]) == "ARM\x64"
}

func archOf(m elf.Machine) string {
	switch m {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_AARCH64:
		return "arm64"
	}
	return ""
}

// looksLikeKernel tells a kernel from a program: it wants no interpreter and either lives in the kernel's half of the
// address space, has a PVH note (owner "Xen"), or begins between 1 MiB, below which no VMM loads one, and 4 MiB, where
// linkers put static programs. Linux's banner proves nothing: programs quote it.
func looksLikeKernel(f *elf.File) bool {
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return false
	}
	high, pvh, lowest := false, false, uint64(1<<64-1)
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_INTERP:
			return false
		case elf.PT_LOAD:
			lowest = min(lowest, p.Vaddr)
			high = high || p.Vaddr>>63 == 1
		case elf.PT_NOTE:
			note := make([]byte, min(p.Filesz, 4096))
			n, _ := p.ReadAt(note, 0)
			pvh = pvh || bytes.Contains(note[:n], []byte("Xen\x00"))
		}
	}
	return lowest != 1<<64-1 && (high || pvh || lowest >= 1<<20 && lowest < 4<<20)
}

var (
	cleanVersion = lazy.Regexp(`^[0-9][0-9A-Za-z.+_~-]*$`) // of a word that is bounded
	banner       = []byte("Linux version ")
)

// scanVersion finds "Linux version X " in the first maxScan bytes. The banner's format string also occurs in a kernel
// ("Linux version %s"): only a version that begins with a digit counts.
func scanVersion(r io.ReaderAt) string {
	const chunk, overlap = 1 << 20, 256
	buf := make([]byte, chunk+overlap)
	for off := int64(0); off < maxScan; off += chunk {
		n, err := r.ReadAt(buf, off)
		for rest := buf[:n]; ; {
			i := bytes.Index(rest, banner)
			if i < 0 {
				break
			}
			rest = rest[i+len(banner):]
			word := rest[:min(len(rest), 128)]
			if end := bytes.IndexByte(word, ' '); end > 0 && cleanVersion().Match(word[:end]) {
				return string(word[:end])
			}
		}
		if err != nil {
			break
		}
	}
	return ""
}
