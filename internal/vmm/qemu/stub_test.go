package qemu

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"noid/internal/vmm"
)

// TestStub makes stubs of kernels: what QEMU reads of a bzImage's header must be there, and what is none is not cut.
func TestStub(t *testing.T) {
	image := func(sects byte, version byte, size int) []byte {
		b := bytes.Repeat([]byte{7}, size)
		b[setupSects] = sects
		copy(b[setupMagic:], "HdrS")
		b[setupMagic+4], b[setupMagic+5] = 15, version
		return b
	}
	for name, test := range map[string]struct {
		kernel []byte
		want   int // bytes of the stub, 0 for none
	}{
		"bzImage":      {image(39, 2, 1<<20), 48 * sector},
		"no sectors":   {image(0, 2, 1<<20), 13 * sector},
		"most sectors": {image(255, 2, 1<<20), longestStub},
		"cut":          {image(39, 2, 30*sector), 30 * sector},
		"old":          {image(39, 1, 1<<20), 0},
		"ELF":          {append([]byte("\x7fELF"), make([]byte, 4096)...), 0},
		"short":        {[]byte("short"), 0},
		"empty":        {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir, from := t.TempDir(), t.TempDir()
			m := vmm.Machine{KernelPath: filepath.Join(from, "kernel"), InitrdPath: filepath.Join(from, "initrd")}
			was := m
			if err := os.WriteFile(m.KernelPath, test.kernel, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := stub(dir, &m); err != nil {
				t.Fatal(err)
			}
			if test.want == 0 {
				if m.KernelPath != was.KernelPath || m.InitrdPath != was.InitrdPath {
					t.Errorf("it boots from %s and %s", m.KernelPath, m.InitrdPath)
				}
				return
			}
			if got, err := os.ReadFile(m.KernelPath); err != nil || !bytes.Equal(got, test.kernel[:test.want]) || m.KernelPath == was.KernelPath {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if got, err := os.ReadFile(m.InitrdPath); err != nil || len(got) == 0 {
				t.Errorf("the initramfs: %d bytes, %v", len(got), err)
			}
			vmm.Remove(dir, stubKernel, stubInitrd)
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}
