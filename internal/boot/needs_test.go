package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
)

// all are texts of a kernel that has everything built in.
const all = initrdText + " virtio-pci virtio-mmio virtio_console vmw_vsock_virtio_transport virtio_net overlayfs: "

// TestLacks says what a kernel lacks: by its text, its modules and its configuration, wherever that is.
func TestLacks(t *testing.T) {
	const noVsock = "CONFIG_BLK_DEV_INITRD=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_MMIO=y\nCONFIG_VIRTIO_CONSOLE=y\n# CONFIG_VIRTIO_VSOCKETS is not set\nCONFIG_VIRTIO_NET=y\nCONFIG_OVERLAY_FS=m\n"
	const withoutVsock, withoutOverlay = "no virtio vsock: with Firecracker, exec needs --serial", "no overlayfs: no VM gets a disk over an image with it"
	const withoutNet = "no virtio net: no VM gets a network with it"
	moduleMissing := withoutOverlay + " (overlay is a module, and not among its modules)"
	version := "6.1.0-42-cloud-amd64"
	for _, tt := range []struct {
		name, text string
		files      map[string]string // beside the kernel
		config     string            // named
		want       []string
	}{
		{"all", all, nil, "", nil},
		{"no overlay", strings.TrimSuffix(all, "overlayfs: "), nil, "", []string{withoutOverlay}},
		{"no network device", strings.Replace(all, "virtio_net ", "", 1), nil, "", []string{withoutNet}},
		{"overlay as a module", strings.TrimSuffix(all, "overlayfs: "), map[string]string{"modules/" + version + "/kernel/overlay.ko": ""}, "", nil},
		{"a configuration beside it", all, map[string]string{"config-" + version: "# x\n" + noVsock}, "", []string{withoutVsock, moduleMissing}},
		{"and the module", all, map[string]string{"config-" + version: "# x\n" + noVsock, "modules/" + version + "/overlay.ko.xz": ""}, "", []string{withoutVsock}},
		{"among the modules", all, map[string]string{"modules/" + version + "/config": "# x\n" + noVsock}, "", []string{withoutVsock, moduleMissing}},
		{"named", all, map[string]string{"named": noVsock, "config-" + version: "# x\nCONFIG_OTHER=y\n"}, "named", []string{withoutVsock, moduleMissing}},
		{"in the kernel", all + ikStart + string(gzipped([]byte("#\n"+noVsock))) + ikEnd, nil, "", []string{withoutVsock, moduleMissing}},
		{"damaged in the kernel", all + ikStart + "\x1f\x8b" + ikEnd, nil, "", nil},
	} {
		path := write(t, hostKernel(tt.text))
		dir := filepath.Dir(path)
		for name, text := range tt.files {
			if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if tt.config != "" {
			tt.config = filepath.Join(dir, tt.config)
		}
		got, err := Lacks(path, tt.config)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	if _, err := Lacks(write(t, hostKernel("")), ""); !errors.Is(err, errs.ErrHost) || !strings.Contains(err.Error(), "takes no initramfs") {
		t.Errorf("no initramfs: %v", err)
	}
	if _, err := Lacks(write(t, hostKernel(all)), write(t, []byte("text"))); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("a configuration that is none: %v", err)
	}
}

// TestIkconfigInPieces finds the configuration however it is cut.
func TestIkconfigInPieces(t *testing.T) {
	data := "before" + ikStart + string(gzipped([]byte("#\nCONFIG_A=y\n"))) + ikEnd + "after"
	var c ikconfig
	for i := range len(data) {
		c.Write([]byte{data[i]})
	}
	if got := c.text(); got != "\n#\nCONFIG_A=y\n" {
		t.Errorf("got %q", got)
	}
}

// TestRealKernel: a distribution's kernel lacks nothing, by whatever tells.
func TestRealKernel(t *testing.T) {
	path := os.Getenv("NOID_TEST_KERNEL")
	if path == "" {
		t.Skip("NOT RUN: NOID_TEST_KERNEL is not set")
	}
	if lacks, err := Lacks(path, ""); err != nil || len(lacks) != 0 {
		t.Errorf("%q, %v", lacks, err)
	}
}

// peFile is the start of an EFI program with one section.
func peFile(section string) []byte {
	b := make([]byte, 4096)
	copy(b, peMagic)
	le.PutUint32(b[0x3c:], 64)
	copy(b[64:], "PE\x00\x00")
	le.PutUint16(b[68:], 0x8664) // machine
	le.PutUint16(b[70:], 1)      // sections; no optional header
	copy(b[88:], section)
	return b
}

// TestRefusedWithCure: what people give instead of a kernel or a root file system, and what makes one of it.
func TestRefusedWithCure(t *testing.T) {
	at := func(offset int, magic string) []byte {
		return append(make([]byte, offset), magic+strings.Repeat("\x00", 4096)...)
	}
	zboot := append([]byte("MZ\x00\x00zimg\x00\x10\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00gzip\x00"), make([]byte, 100)...)
	disk := at(510, mbrMagic)
	le.PutUint32(disk[446+8:], 2048)
	le.PutUint32(disk[446+12:], 4096)
	for _, tt := range []struct {
		data               []byte
		what               string
		kernelCure, fsCure string
	}{
		{peFile(".linux\x00\x00"), "a unified kernel image, which only EFI boots", "--only-section=.linux", "--only-section=.linux"},
		{peFile(".text\x00\x00\x00"), "an EFI or Windows program", "", ""},
		{zboot, "a kernel that only EFI boots (zboot)", "tail -c +4097 KERNEL | head -c 8192 | gunzip >Image", "gunzip"},
		{at(0, "LUKS\xba\xbe"), "an image encrypted with LUKS", "", "cryptsetup open"},
		{at(0, "QFI\xfb"), "a qcow2 disk image", "", "qemu-img convert -O raw"},
		{at(0x40, "\x7f\x10\xda\xbe"), "a VDI disk image", "", "qemu-img convert -O raw"},
		{at(0x200, "LABELONE"), "an LVM physical volume", "", "dd if=/dev/GROUP/VOLUME"},
		{at(0x400, "\x10\x20\xf5\xf2"), "an f2fs file system image", "", "mount it"},
		{gzipped([]byte("kernel")), "gzip data", "gunzip", "gunzip"},
		{append(disk, at(2048*512-len(disk), "XFSB")...), "a disk image with partitions or a boot sector", "", "its partition 1 is an xfs file system image"},
	} {
		path := write(t, tt.data)
		_, err := InspectKernel(path)
		for cure, err := range map[string]error{tt.kernelCure: err, tt.fsCure + " ": CheckExt4(path)} {
			if err == nil || !strings.HasSuffix(err.Error(), "it is "+tt.what) || !strings.Contains(errs.Hint(err)+" ", strings.TrimSpace(cure)) ||
				cure == "" && errs.Hint(err) != "" {
				t.Errorf("%s: %v, hint %q, want %q", tt.what, err, errs.Hint(err), cure)
			}
		}
	}
}
