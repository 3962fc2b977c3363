package boot

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"noid/internal/errs"
)

// vmlinux returns a small ELF that looks like a kernel, with text after its program header.
func vmlinux(machine elf.Machine, vaddr uint64, text string) []byte {
	var b bytes.Buffer
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Entry: vaddr, Phoff: 64, Ehsize: 64,
		Phentsize: 56, Phnum: 1}
	copy(header.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	binary.Write(&b, le, header)
	binary.Write(&b, le, elf.Prog64{Type: uint32(elf.PT_LOAD), Off: 120, Vaddr: vaddr, Filesz: uint64(len(text)), Memsz: uint64(len(text))})
	b.WriteString(text)
	return b.Bytes()
}

const (
	kernelHalf = 0xffffffff81000000
	linux      = "Linux version %s\x00Linux version 6.1.0-42-cloud-amd64 (debian-kernel@lists.debian.org)"
)

// bzImage wraps payload as a boot loader finds it.
func bzImage(payload []byte) []byte {
	b := make([]byte, 5*512+0x40)
	le.PutUint16(b[offBootFlag:], 0xaa55)
	copy(b[offHeader:], "HdrS")
	le.PutUint16(b[offProtocol:], 0x20f)
	le.PutUint16(b[offXLoadFlags:], 1)
	le.PutUint16(b[offKernelVersion:], 0x300-0x200)
	copy(b[0x300:], "6.1.0-42-cloud-amd64 (debian-kernel@lists.debian.org) #1\x00")
	b[offSetupSects] = 4
	le.PutUint32(b[offPayload:], 0x40)
	le.PutUint32(b[offPayloadLength:], uint32(len(payload)))
	return append(b, payload...)
}

// sized appends the unpacked size, as the kernel's build does for every packer but gzip.
func sized(packed, raw []byte) []byte { return le.AppendUint32(packed, uint32(len(raw))) }

func gzipped(raw []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(raw)
	z.Close()
	return b.Bytes()
}

func zstded(raw []byte) []byte {
	z, _ := zstd.NewWriter(nil)
	return sized(z.EncodeAll(raw, nil), raw)
}

func lz4ed(raw []byte) []byte {
	var b bytes.Buffer
	z := lz4.NewWriter(&b)
	z.Apply(lz4.LegacyOption(true))
	z.Write(raw)
	z.Close()
	return sized(b.Bytes(), raw)
}

// arm64Image is the start of a flat arm64 kernel.
func arm64Image() []byte {
	b := make([]byte, 4096)
	copy(b, "MZ")
	copy(b[0x38:], "ARM\x64")
	copy(b[1024:], "Linux version 6.12.5-arm64 (x)")
	return b
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInspectKernel(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
		want Kernel
	}{
		{"bzImage", bzImage(nil), Kernel{BzImage, "6.1.0-42-cloud-amd64", "amd64"}},
		{"vmlinux", vmlinux(elf.EM_X86_64, kernelHalf, linux), Kernel{ELF, "6.1.0-42-cloud-amd64", "amd64"}},
		{"vmlinux without a banner", vmlinux(elf.EM_X86_64, kernelHalf, "x"), Kernel{ELF, "", "amd64"}},
		{"vmlinux low in memory", vmlinux(elf.EM_X86_64, 0x100000, linux), Kernel{ELF, "6.1.0-42-cloud-amd64", "amd64"}},
		{"banner across chunks", vmlinux(elf.EM_AARCH64, kernelHalf, strings.Repeat("x", 1<<20-125)+linux), Kernel{ELF, "6.1.0-42-cloud-amd64", "arm64"}},
		{"arm64 Image", arm64Image(), Kernel{ARM64Image, "6.12.5-arm64", "arm64"}},
	} {
		got, err := InspectKernel(write(t, tt.data))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// TestRefused shows what users read when they mix files up; the file systems come from the real tools.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tar := make([]byte, 1024)
	copy(tar[257:], "ustar")
	cases := []struct{ path, what string }{
		{dir, "a directory"},
		{os.DevNull, "a device"},
		{program, "an ELF program for "},
		{write(t, nil), "empty"},
		{write(t, []byte("vmlinuz: see the häuser\n")), "a text file"},
		{write(t, make([]byte, 5000)), "all zeros at its start"},
		{write(t, gzipped([]byte("x"))), "gzip data"},
		{write(t, zstded([]byte("x"))), "zstd data"},
		{write(t, []byte("QFI\xfb\x00\x00\x00\x03")), "a qcow2 disk image"},
		{write(t, tar), "a tar archive"},
		{write(t, []byte("\x7fELF\x02")), "a damaged ELF file"},
		{write(t, vmlinux(elf.EM_PPC64, kernelHalf, linux)), "an ELF Linux kernel for EM_PPC64"},
		{write(t, []byte{1, 2, 3, 0xff}), "data of an unknown kind"},
	}
	for _, fs := range []struct{ mkfs, what string }{
		{"mkfs.xfs", "an xfs file system image"}, {"mkfs.btrfs", "a btrfs file system image"},
	} {
		img := filepath.Join(dir, fs.mkfs)
		if os.WriteFile(img, nil, 0o600) != nil || os.Truncate(img, 512<<20) != nil {
			t.Fatal("making a sparse file")
		}
		if tool := sbin(fs.mkfs); tool == "" {
			t.Logf("no %s on this host", fs.mkfs)
		} else if out, err := exec.Command(tool, "-q", img).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", fs.mkfs, err, out)
		} else {
			cases = append(cases, struct{ path, what string }{img, fs.what})
		}
	}
	for _, tt := range cases {
		if _, err := InspectKernel(tt.path); err == nil || !strings.Contains(err.Error(), "is not a kernel: it is "+tt.what) {
			t.Errorf("InspectKernel of %s: %v", tt.what, err)
		}
		if err := CheckExt4(tt.path); err == nil || !strings.Contains(err.Error(), "is not an ext4 image: it is "+tt.what) {
			t.Errorf("CheckExt4 of %s: %v", tt.what, err)
		}
	}
}

func TestMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none")
	_, err := InspectKernel(path)
	for want, err := range map[string]error{"kernel not found: ": err, "rootfs not found: ": CheckExt4(path)} {
		if !errors.Is(err, errs.ErrNotFound) || err.Error() != want+path {
			t.Errorf("got %v, want %q", err, want+path)
		}
	}
}

func TestExtractVmlinux(t *testing.T) {
	raw := vmlinux(elf.EM_X86_64, kernelHalf, linux+strings.Repeat("some code ", 2<<20)) // several lz4 blocks
	payloads := map[string][]byte{
		"gzip": gzipped(raw), "zstd": zstded(raw), "lz4": lz4ed(raw), "none": raw,
	}
	if xz, err := exec.LookPath("xz"); err == nil { // with the filter of the kernel's own script, xz_wrap.sh
		cmd := exec.Command(xz, "--check=crc32", "--x86", "--lzma2=dict=32MiB", "-c", "-T1")
		cmd.Stdin = bytes.NewReader(raw)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		payloads["xz"] = sized(out, raw)
	}
	for name, payload := range payloads {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := ExtractVmlinux(&out, write(t, bzImage(payload))); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), raw) {
				t.Errorf("unpacked %d bytes that differ from the %d packed", out.Len(), len(raw))
			}
			truncated := bzImage(payload)
			truncated = truncated[:len(truncated)-10]
			if err := ExtractVmlinux(&out, write(t, truncated)); err == nil || !strings.Contains(err.Error(), "truncated") {
				t.Errorf("truncated: got %v", err)
			}
			if name == "none" {
				return
			}
			wrong := bytes.Clone(payload)
			wrong[len(wrong)-4]++
			if err := ExtractVmlinux(&out, write(t, bzImage(wrong))); err == nil {
				t.Error("a wrong size went unnoticed")
			}
		})
	}
	for name, data := range map[string][]byte{
		"not a bzImage": []byte("x"), "no ELF": bzImage(gzipped([]byte("just text, and some more"))), "does not know": bzImage(bytes.Repeat([]byte("?"), 64)),
	} {
		if err := ExtractVmlinux(&bytes.Buffer{}, write(t, data)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// sbin finds a tool that an ordinary user's PATH may not.
func sbin(name string) string {
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	return ""
}

func TestCheckExt4(t *testing.T) {
	tool := sbin("mke2fs")
	if tool == "" {
		t.Skip("no mke2fs on this host")
	}
	for _, kind := range []string{"ext2", "ext3", "ext4"} {
		path := filepath.Join(t.TempDir(), kind)
		if out, err := exec.Command(tool, "-q", "-t", kind, path, "16M").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := CheckExt4(path); err != nil {
			t.Error(err)
		}
		if _, err := InspectKernel(path); err == nil || !strings.HasSuffix(err.Error(), "it is an "+kind+" file system image") {
			t.Errorf("InspectKernel of an %s image: %v", kind, err)
		}
		for _, broken := range []struct {
			offset int64
			data   string
			says   string
		}{
			{sbIncompat, "\x42\x00\x08\x00", "the feature I19 of ext4"}, {sbIncompat, "\x43\x00\x00\x00", "the feature I0 of ext4"},
			{sbIncompat, "\x0a\x00\x00\x00", "external journal"}, {sbCompat, "\x04\x00\x00\x00" + "\x02\x00\x00\x00", "its journal is on another device"},
		} {
			copied := sparse(t, path)
			if broken.offset == sbCompat {
				overwrite(t, copied, sbOffset+sbJournalInode, "\x00\x00\x00\x00")
			}
			overwrite(t, copied, sbOffset+broken.offset, broken.data)
			if err := CheckExt4(copied); err == nil || !strings.Contains(err.Error(), broken.says) {
				t.Errorf("an %s with %q at %#x: got %v, want %q", kind, broken.data, broken.offset, err, broken.says)
			}
		}
		if err := os.Truncate(path, 16<<20-4096); err != nil {
			t.Fatal(err)
		}
		if err := CheckExt4(path); err == nil || !strings.Contains(err.Error(), "truncated") {
			t.Errorf("a truncated %s: got %v", kind, err)
		}
	}
}

// sparse copies the file path.
func sparse(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, data)
}

func overwrite(t *testing.T, path string, offset int64, data string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(data), offset); err != nil {
		t.Fatal(err)
	}
}

// TestCheckUnused refuses an image while it is open for writing, as a loop device and a VM have it. A reader is none.
func TestCheckUnused(t *testing.T) {
	path := write(t, []byte("x"))
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := CheckUnused(path); err != nil {
		t.Error(err)
	}
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckUnused(path); !errors.Is(err, errs.ErrBusy) || errs.Hint(err) == "" {
		t.Errorf("open for writing: %v", err)
	}
	writer.Close()
	if err := CheckUnused(path); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// TestPartitions names the partition of a disk image that noid could use.
func TestPartitions(t *testing.T) {
	tool := sbin("mke2fs")
	if tool == "" {
		t.Skip("no mke2fs on this host")
	}
	const start, length = 64, 4096 // sectors
	fs := filepath.Join(t.TempDir(), "fs")
	if out, err := exec.Command(tool, "-q", "-t", "ext4", fs, "2M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(fs)
	if err != nil {
		t.Fatal(err)
	}
	mbr := append(make([]byte, start*sectorSize), data...)
	copy(mbr[510:], mbrMagic)
	gpt := bytes.Clone(mbr)
	mbr[446+16+4] = 0x83 // the second
	le.PutUint32(mbr[446+16+8:], start)
	le.PutUint32(mbr[446+16+12:], length)
	copy(gpt[sectorSize:], gptMagic)
	le.PutUint64(gpt[sectorSize+72:], 2)
	le.PutUint32(gpt[sectorSize+80:], 128)
	le.PutUint32(gpt[sectorSize+84:], 128)
	le.PutUint64(gpt[2*sectorSize+128+32:], start)
	le.PutUint64(gpt[2*sectorSize+128+40:], start+length-1)
	for _, disk := range [][]byte{mbr, gpt} {
		err := CheckExt4(write(t, disk))
		if err == nil || !strings.Contains(err.Error(), "it is a disk image with partitions") || !strings.Contains(errs.Hint(err), "partition 2 is ext4: dd if=IMAGE of=ROOTFS bs=512 skip=64 count=4096") {
			t.Errorf("%v, hint %q", err, errs.Hint(err))
		}
		clear(disk[start*sectorSize:])
		if err := CheckExt4(write(t, disk)); err == nil || !strings.Contains(errs.Hint(err), "alone, as ext4") {
			t.Errorf("no ext4 in it: %v, hint %q", err, errs.Hint(err))
		}
	}
}
