package boot

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"noid/internal/kmod"
)

// entry is a file of an initramfs.
type entry struct {
	name string
	mode uint64
	data []byte
}

// readCpio reads a newc archive as the kernel does (init/initramfs.c), strictly.
func readCpio(b []byte) (entries []entry, err error) {
	const header = 110
	for off := 0; ; {
		if len(b)-off < header || string(b[off:off+6]) != "070701" {
			return nil, fmt.Errorf("no header at %d", off)
		}
		field := func(i int) (n uint64) {
			if err == nil {
				n, err = strconv.ParseUint(string(b[off+6+8*i:off+14+8*i]), 16, 32)
			}
			return n
		}
		mode, size, nameLen := field(1), int(field(6)), int(field(11))
		if err != nil {
			return nil, err
		}
		name := off + header
		data := (name + nameLen + 3) &^ 3
		if nameLen < 1 || data+size > len(b) || b[name+nameLen-1] != 0 {
			return nil, fmt.Errorf("the entry at %d is cut", off)
		}
		e := entry{string(b[name : name+nameLen-1]), mode, b[data : data+size]}
		off = (data + size + 3) &^ 3
		if e.name == "TRAILER!!!" {
			if off != len(b) {
				return nil, fmt.Errorf("%d bytes after the trailer", len(b)-off)
			}
			return entries, nil
		}
		entries = append(entries, e)
	}
}

// FuzzInitramfs writes an initramfs of any contents and reads it back: no file can become another, or a second one.
func FuzzInitramfs(f *testing.F) {
	f.Add([]byte("init"), []byte("agent"), "virtio", []byte("module"), uint8(2))
	f.Add([]byte(nil), []byte(nil), "", []byte("070701"), uint8(0))
	f.Add([]byte("TRAILER!!!\x00"), []byte{0}, "a", []byte(nil), uint8(255))
	f.Fuzz(func(t *testing.T, init, agent []byte, name string, data []byte, count uint8) {
		if strings.ContainsAny(name, "/\x00") {
			return // no file's name
		}
		var modules []kmod.Module
		for i := range int(count) % maxModules {
			modules = append(modules, kmod.Module{Name: name, Data: data[:min(i, len(data))]})
		}
		var b bytes.Buffer
		if err := writeInitramfs(&b, init, agent, modules, nil); err != nil {
			t.Fatal(err)
		}
		got, err := readCpio(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]entry{}
		for _, e := range got {
			if _, twice := files[e.name]; twice {
				t.Errorf("%q is there twice", e.name)
			}
			files[e.name] = e
		}
		if e := files["init"]; !bytes.Equal(e.data, init) || e.mode != modeExec {
			t.Errorf("init: %+v", e)
		}
		if e, ok := files["agent"]; !bytes.Equal(e.data, agent) || ok != (len(agent) > 0) {
			t.Errorf("agent: %+v", e)
		}
		for i, m := range modules {
			if e, ok := files[fmt.Sprintf("modules/%03d-%s.ko", i, m.Name)]; !ok || !bytes.Equal(e.data, m.Data) || e.mode != modeFile {
				t.Errorf("module %d %q: %v %+v", i, m.Name, ok, e)
			}
		}
	})
}

// object is an ELF object whose .modinfo has the given text, flags and size as the header states it.
func object(modinfo string, flags elf.SectionFlag, size uint64) []byte {
	names := "\x00.modinfo\x00.shstrtab\x00"
	h := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	h.Shoff = uint64(64 + len(modinfo) + len(names))
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, h)
	b.WriteString(modinfo + names)
	binary.Write(&b, binary.LittleEndian, []elf.Section64{{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Flags: uint64(flags), Off: 64, Size: size},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(64 + len(modinfo)), Size: uint64(len(names))}})
	return b.Bytes()
}

// FuzzModule reads any kernel module: what it says it needs is no more than it has bytes for.
func FuzzModule(f *testing.F) {
	const info = "license=GPL\x00depends=virtio,virtio_ring\x00softdep=pre: crc32c post: x\x00"
	seeds := [][]byte{object(info, 0, uint64(len(info))), object(info, elf.SHF_COMPRESSED, uint64(len(info))), object(info, 0, 1<<40), []byte(elf.ELFMAG), nil}
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(seeds[0])
	w.Close()
	seeds = append(seeds, gz.Bytes())
	z, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	seeds = append(seeds, z.EncodeAll(seeds[0], nil))
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		const max = 1 << 20 // less than for a real one, to be quick
		data, err := unpackModule(bytes.NewReader(packed), limits{window: moduleLimits.window, size: max})
		if err != nil {
			return
		}
		if len(data) > max {
			t.Fatalf("unpacked %d bytes", len(data))
		}
		m, err := inspectModule("module", data)
		names := append(m.Needs, m.Aliases...)
		if err != nil {
			return
		}
		total := 0
		for _, n := range names {
			total += len(n)
			if n == "" {
				t.Error("an empty name")
			}
		}
		if total > len(data) {
			t.Errorf("%d bytes of names in a module of %d", total, len(data))
		}
	})
}

// FuzzVersion checks that a kernel's version never leads out of the directories of modules.
func FuzzVersion(f *testing.F) {
	for _, seed := range []string{"", "..", ".", "6.1.0-56-cloud-amd64", "../../etc", "a/b", "/etc", "6.1\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, version string) {
		if dir := FindModules("/nosuch/boot/vmlinuz", version); dir != "" && dir != "/lib/modules/"+version {
			t.Errorf("%q leads to %q", version, dir)
		}
	})
}
