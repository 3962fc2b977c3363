package boot

import (
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"noid/internal/errs"
)

// hostKernel is a kernel for this architecture with text in it. One for amd64 is a bzImage, whose text is packed.
func hostKernel(text string) []byte {
	if runtime.GOARCH == "arm64" {
		image := make([]byte, 4096)
		copy(image[0x38:], "ARM\x64")
		copy(image[1024:], "Linux version 6.1.0-42-cloud-amd64 (x) "+text)
		return image
	}
	return bzImage(zstded(vmlinux(elf.EM_X86_64, kernelHalf, text)))
}

// TestCheckKernel refuses a kernel that could not mount a root file system, before a VM is made of it.
func TestCheckKernel(t *testing.T) {
	foreign := arm64Image()
	if runtime.GOARCH == "arm64" {
		foreign = bzImage(zstded(vmlinux(elf.EM_X86_64, kernelHalf, linux)))
	}
	for _, tt := range []struct {
		name    string
		data    []byte
		modules []string // beside it
		says    string   // "" if it is good
	}{
		{"another architecture's", foreign, nil, "is for "},
		{"all built in", hostKernel("virtio_blk EXT4-fs"), nil, ""},
		{"all in modules", hostKernel(""), []string{"virtio_blk.ko", "ext4.ko"}, ""},
		{"one built in", hostKernel("EXT4-fs"), []string{"virtio_blk.ko"}, ""},
		{"its modules are not there", hostKernel("EXT4-fs"), nil, "needs its modules, which are not there: it has no driver for virtio disks built in"},
		{"its modules lack one", hostKernel(""), []string{"virtio_blk.ko"}, "has no ext4, neither built in nor in "},
		{"no Linux", vmlinux(map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH], kernelHalf, "mine"), nil, ""},
	} {
		path := write(t, tt.data)
		for _, name := range tt.modules {
			dir := filepath.Join(filepath.Dir(path), "modules/6.1.0-42-cloud-amd64")
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), module("depends=\x00"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := CheckKernel(path)
		_, _, filesErr := Files(t.Context(), filepath.Join(t.TempDir(), "cache"), path, false, false)
		for _, err := range []error{err, filesErr} {
			if tt.says == "" && err != nil {
				t.Errorf("%s: %v", tt.name, err)
			} else if tt.says != "" && (!errors.Is(err, errs.ErrHost) || !strings.Contains(err.Error(), tt.says) || errs.Hint(err) == "") {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
			}
		}
	}
}

// TestCheckOverlay refuses a kernel that could not lay a disk over a base, and says what does without.
func TestCheckOverlay(t *testing.T) {
	for _, tt := range []struct {
		name, text, module string
		good               bool
	}{{"built in", "\x013overlayfs: missing", "", true}, {"a module", "", "overlay.ko", true}, {"none", "", "ext4.ko", false}, {"nothing", "", "", false}} {
		path := write(t, hostKernel(tt.text))
		if tt.module != "" {
			dir := filepath.Join(filepath.Dir(path), "modules/6.1.0-42-cloud-amd64")
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, tt.module), module("depends=\x00"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		err := CheckOverlay(path)
		if tt.good && err != nil || !tt.good && (!errors.Is(err, errs.ErrHost) || !strings.Contains(errs.Hint(err), "--flat")) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
