package boot

import (
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"noid/internal/errs"
)

// programs are what is committed, by their names.
var programs = map[string]func(arch string) ([]byte, error){"noid-init": InitBinary, "noid-agent": AgentBinary}

func TestPrograms(t *testing.T) {
	for name, program := range programs {
		for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
			data, err := program(arch)
			if err != nil {
				t.Fatal(err)
			}
			f, err := elf.NewFile(bytes.NewReader(data))
			if err != nil || f.Machine != machine {
				t.Fatalf("%s for %s: %v, %v", name, arch, f, err)
			}
			for _, p := range f.Progs {
				if p.Type == elf.PT_INTERP {
					t.Errorf("%s for %s needs a dynamic linker, which an initramfs has not", name, arch)
				}
			}
			const limit = 4 << 20 // every guest reads it at boot and keeps the agent in its memory
			if len(data) > limit {
				t.Errorf("%s for %s has %d bytes, more than %d", name, arch, len(data), limit)
			}
		}
		if _, err := program("riscv64"); !errors.Is(err, errs.ErrHost) {
			t.Errorf("%s of another architecture: got %v, want ErrHost", name, err)
		}
	}
}

// TestProgramsAreCurrent builds them again and compares. Another toolchain makes other bytes.
func TestProgramsAreCurrent(t *testing.T) {
	data, err := InitBinary("amd64")
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if info.GoVersion != runtime.Version() {
		t.Skipf("the committed programs were built with %s, this is %s", info.GoVersion, runtime.Version())
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "run", "gen.go", "-o", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, program := range programs {
		for _, arch := range []string{"amd64", "arm64"} {
			packed, err := os.ReadFile(filepath.Join(dir, name+"-"+arch+".gz"))
			if err != nil {
				t.Fatal(err)
			}
			fresh, err := unpack(name, packed)
			if err != nil {
				t.Fatal(err)
			}
			if committed, err := program(arch); err != nil || !bytes.Equal(committed, fresh) {
				t.Errorf("internal/guest/bin/%s-%s.gz is out of date (%v): run go generate ./internal/guest and commit", name, arch, err)
			}
		}
	}
}

// TestBuildInitramfs has cpio read what was written.
func TestBuildInitramfs(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox, whose cpio is wanted")
	}
	modules := []Module{{"virtio_ring", []byte("ring")}, {"virtio", []byte("virtio!")}}
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := BuildInitramfs(b, []byte("#!init"), []byte("#!agent"), modules); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same input made different archives")
	}
	cmd := exec.Command(busybox, "cpio", "-tv")
	cmd.Stdin = bytes.NewReader(first.Bytes())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var got []string
	for _, line := range strings.Split(string(out), "\n") {
		if f := strings.Fields(line); len(f) > 5 {
			got = append(got, f[0]+" "+f[len(f)-1])
		}
	}
	want := []string{"drwxr-xr-x dev", "drwxr-xr-x modules", "drwxr-xr-x newroot", "drwxr-xr-x proc", "drwxr-xr-x sys",
		"crw------- dev/console", "-rwxr-xr-x init", "-rwxr-xr-x agent", "-rw-r--r-- modules/000-virtio_ring.ko", "-rw-r--r-- modules/001-virtio.ko"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%s", diff, out)
	}
	cmd = exec.Command(busybox, "cpio", "-i", "--to-stdout", "modules/001-virtio.ko")
	cmd.Stdin = bytes.NewReader(first.Bytes())
	if out, err := cmd.Output(); err != nil || string(out) != "virtio!" {
		t.Errorf("reading a module: %q, %v", out, err)
	}
}

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

func names(modules []Module) (names []string) {
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
}

// kernel writes the beginning of an arm64 Image of version 6.1.0 with a module tree beside it.
func kernel(t *testing.T) string {
	t.Helper()
	dir := filepath.Dir(modulesDir(t, map[string]string{"virtio.ko": "depends=\x00"}))
	image := make([]byte, 4096)
	copy(image[0x38:], "ARM\x64")
	copy(image[1024:], "Linux version 6.1.0 (x)")
	path := filepath.Join(dir, "Image")
	if err := errors.Join(os.WriteFile(path, image, 0o600), os.Mkdir(filepath.Join(dir, "modules"), 0o755),
		os.Rename(filepath.Join(dir, "6.1.0"), filepath.Join(dir, "modules/6.1.0"))); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInitramfs(t *testing.T) {
	kernel, cache := kernel(t), filepath.Join(t.TempDir(), "kernels")
	first, err := Initramfs(cache, kernel, true)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(first)
	if err != nil || !bytes.Contains(data, []byte("modules/000-virtio.ko\x00")) {
		t.Errorf("no module in it (%v)", err)
	}
	before, _ := os.Stat(first)
	again, err := Initramfs(cache, kernel, true)
	if err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(again); err != nil || !os.SameFile(before, after) {
		t.Errorf("the second call made %s anew (%v)", again, err)
	}

	without, err := Initramfs(cache, kernel, false)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{first: true, without: false} {
		if data, err := os.ReadFile(path); err != nil || bytes.Contains(data, []byte("00000000agent\x00")) != want {
			t.Errorf("%s: %v; an agent in it: want %v", path, err, want)
		}
	}

	stale := filepath.Join(cache, tmpPrefix+"killed")
	long := time.Now().Add(-2 * staleTmp)
	if err := errors.Join(os.WriteFile(stale, nil, 0o600), os.Chtimes(stale, long, long), os.Chtimes(kernel, long, long)); err != nil {
		t.Fatal(err)
	}
	if changed, err := Initramfs(cache, kernel, true); err != nil || changed == first {
		t.Errorf("another kernel got %s (%v)", changed, err)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, ".*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := os.RemoveAll(filepath.Join(filepath.Dir(kernel), "modules")); err != nil {
		t.Fatal(err)
	}
	bare, err := Initramfs(cache, kernel, true)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(bare); err != nil || bytes.Contains(data, []byte(".ko\x00")) || bare == first {
		t.Errorf("%s still has modules (%v)", bare, err)
	}
	if _, err := Initramfs(cache, kernel+"x", true); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("a missing kernel: got %v", err)
	}
}
