package boot

import (
	"bytes"
	"debug/elf"
	"io"
	"testing"
)

// bomb stops a decompressor early, so that a fuzzer that makes one does not spend its time in it.
type bomb struct{ left int }

func (b *bomb) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func FuzzKernel(f *testing.F) {
	raw := vmlinux(elf.EM_X86_64, kernelHalf, linux)
	for _, seed := range [][]byte{raw, bzImage(gzipped(raw)), bzImage(lz4ed(raw)), bzImage(zstded(raw)), bzImage(raw), arm64Image(), nil} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		k, ok, err := inspect(r)
		if err != nil {
			t.Fatalf("reading from memory: %v", err)
		}
		if ok && (k.Arch == "" || k.Format == "") {
			t.Errorf("a kernel without architecture or format: %+v", k)
		}
		if k.Version != "" && !cleanVersion().MatchString(k.Version) {
			t.Errorf("version %q", k.Version)
		}
		if what, _ := describe(r); what == "" {
			t.Error("no description")
		}
		extract(&bomb{1 << 20}, r, r.Size())
	})
}

func FuzzExt4(f *testing.F) {
	sb := make([]byte, 4096)
	sb[sbOffset+sbInodes], sb[sbOffset+sbBlocksLo], sb[sbOffset+sbBlocksPerGroup], sb[sbOffset+sbInodesPerGroup] = 16, 4, 32, 16
	sb[sbOffset+sbMagic], sb[sbOffset+sbMagic+1] = 0x53, 0xef
	f.Add(sb)
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		if checkExt4(r, r.Size()) != nil {
			return
		}
		got, err := readExt4(r)
		if err != nil || got.blocks == 0 || got.blocks > uint64(len(data))/got.blockSize {
			t.Errorf("accepted %+v, %v in %d bytes", got, err, len(data))
		}
	})
}
