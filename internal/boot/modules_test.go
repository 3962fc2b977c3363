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

	"noid/internal/kmod"
)

// module returns an ELF object with a .modinfo section that holds info.
func module(info string) []byte {
	const names = "\x00.modinfo\x00.shstrtab\x00"
	var b bytes.Buffer
	header := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64, Shentsize: 64,
		Shnum: 3, Shstrndx: 2, Shoff: uint64(64 + len(info) + len(names))}
	copy(header.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	for _, part := range []any{header, []byte(info), []byte(names), elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: 64, Size: uint64(len(info))},
		elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(64 + len(info)), Size: uint64(len(names))}} {
		binary.Write(&b, binary.LittleEndian, part)
	}
	return b.Bytes()
}

// modulesDir lays out modules as a kernel's package does. The values are .modinfo, the names decide the packing.
func modulesDir(t *testing.T, modules map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "6.1.0")
	for name, info := range modules {
		data := module(info)
		switch filepath.Ext(name) {
		case ".gz":
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			z.Write(data)
			z.Close()
			data = b.Bytes()
		case ".zst":
			z, err := zstd.NewWriter(nil)
			if err != nil {
				t.Fatal(err)
			}
			data = z.EncodeAll(data, nil)
		case ".xz":
			cmd := exec.Command("xz", "--check=crc32", "-c")
			cmd.Stdin = bytes.NewReader(data)
			var err error
			if data, err = cmd.Output(); err != nil {
				t.Skipf("xz: %v", err)
			}
		}
		path := filepath.Join(dir, "kernel/drivers", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func names(modules []kmod.Module) (names []string) {
	for _, m := range modules {
		names = append(names, m.Name)
	}
	return names
}

func TestResolveModules(t *testing.T) {
	dir := modulesDir(t, map[string]string{
		"virtio/virtio.ko":         "license=GPL\x00depends=\x00",
		"virtio/virtio_ring.ko.xz": "depends=\x00",
		"virtio-rng.ko.gz":         "depends=virtio,rng-core\x00",
		"rng-core.ko.zst":          "depends=\x00name=rng_core\x00",
		"ext4.ko":                  "softdep=pre: crc32c post: late\x00depends=jbd2,mbcache\x00",
		"crc32c.ko":                "\x00", "late.ko": "\x00",
		"jbd2.ko": "depends=loop\x00", "mbcache.ko": "depends=jbd2\x00",
		"loop.ko": "depends=jbd2\x00",
	})
	got, err := ResolveModules(dir, []string{"virtio_ring", "virtio", "af_packet", "virtio_rng", "ext4", "virtio-rng"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"virtio_ring", "virtio", "rng_core", "virtio_rng", "crc32c", "loop", "jbd2", "mbcache", "ext4"}
	if diff := cmp.Diff(want, names(got)); diff != "" {
		t.Error(diff)
	}
	for _, m := range got {
		if !bytes.HasPrefix(m.Data, []byte(elf.ELFMAG)) {
			t.Errorf("%s is not unpacked: %.8q", m.Name, m.Data)
		}
	}
}

func TestResolveModulesRefuses(t *testing.T) {
	dir := modulesDir(t, map[string]string{"virtio.ko": ""})
	path := filepath.Join(dir, "kernel/drivers/virtio.ko")
	for want, data := range map[string]string{"no .modinfo": string(elfWithoutModinfo()), "bad magic": strings.Repeat("text", 100)} {
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ResolveModules(dir, []string{"virtio"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := ResolveModules(filepath.Join(dir, "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
}

func elfWithoutModinfo() []byte {
	return bytes.Replace(module(""), []byte(".modinfo"), []byte(".nodinfo"), 1)
}

func TestFindModules(t *testing.T) {
	dir := t.TempDir()
	kernel := filepath.Join(dir, "boot/vmlinuz")
	near, beside := filepath.Join(dir, "lib/modules/6.1.0"), filepath.Join(dir, "boot/modules/6.2.0")
	for _, d := range []string{near, beside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for version, want := range map[string]string{"6.1.0": near, "6.2.0": beside, "6.3.0": "", "": "", "..": "", "../modules/6.1.0": ""} {
		if got := FindModules(kernel, version); got != want {
			t.Errorf("FindModules(%q) = %q, want %q", version, got, want)
		}
	}
	link := filepath.Join(t.TempDir(), "vmlinuz")
	if err := errors.Join(os.WriteFile(kernel, nil, 0o600), os.Symlink(kernel, link)); err != nil {
		t.Fatal(err)
	}
	if got := FindModules(link, "6.1.0"); got != near {
		t.Errorf("FindModules of a link = %q, want its target's %q", got, near)
	}
}
