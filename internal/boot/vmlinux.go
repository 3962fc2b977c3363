package boot

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
)

const (
	// maxVmlinux bounds what a kernel may unpack to, in bytes. Distributions' kernels are 30 to 80 MiB.
	maxVmlinux = 1 << 30
	// maxWindow bounds the decompressors' memory, in bytes: the kernel is packed with zstd's --ultra -22, whose window is
	// 128 MiB, and with an xz dictionary of 32 MiB.
	maxWindow = 128 << 20
	// lz4Block is the size of a block of LZ4's legacy format, in bytes.
	lz4Block = 8 << 20
)

// ExtractVmlinux writes the ELF kernel that the bzImage at path carries. A kernel that is an ELF already is copied. What
// it has written when it fails is worthless.
func ExtractVmlinux(w io.Writer, path string) error {
	f, err := openInput("kernel", path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := extract(w, f, info.Size()); err != nil {
		return fmt.Errorf("extracting the kernel in %q: %w", path, err)
	}
	return nil
}

func extract(w io.Writer, r io.ReaderAt, size int64) error {
	head, err := readHead(r)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		_, err := copyBounded(w, io.NewSectionReader(r, 0, size))
		return err
	}
	if !isBzImage(head) {
		return fmt.Errorf("not a bzImage: it is %s", describe(r))
	}
	payload, err := payloadOf(head, r, size)
	if err != nil {
		return err
	}
	magic := make([]byte, 6)
	if _, err := payload.ReadAt(magic, 0); err != nil {
		return errors.New("the payload is too short")
	}
	raw, err := decompressor(magic, payload)
	if err != nil {
		return err
	}
	defer raw.Close()
	out := bufio.NewReader(raw)
	if start, err := out.Peek(4); err != nil && err != io.EOF {
		return fmt.Errorf("unpacking: %w", err)
	} else if string(start) != elf.ELFMAG {
		return errors.New("the payload is no ELF kernel")
	}
	n, err := copyBounded(w, out)
	if err != nil {
		return err
	}
	// The payload's last four bytes are the unpacked size, for every packer and for gzip by its own trailer.
	var trailer [4]byte
	if _, err := payload.ReadAt(trailer[:], payload.Size()-4); err != nil {
		return err
	}
	if want := le.Uint32(trailer[:]); !bytes.HasPrefix(magic, []byte(elf.ELFMAG)) && uint32(n) != want {
		return fmt.Errorf("unpacked to %d bytes instead of %d: the file is damaged", n, want)
	}
	return nil
}

// payloadOf returns the compressed kernel inside a bzImage of the given size.
func payloadOf(head []byte, r io.ReaderAt, size int64) (*io.SectionReader, error) {
	if le.Uint16(head[offProtocol:]) < 0x208 {
		return nil, errors.New("its boot protocol is older than 2.08 (Linux 2.6.26)")
	}
	sects := int64(head[offSetupSects])
	if sects == 0 {
		sects = 4 // boot.rst: for compatibility
	}
	start := (sects+1)*512 + int64(le.Uint32(head[offPayload:]))
	length := int64(le.Uint32(head[offPayloadLength:]))
	if length < 16 || start+length > size {
		return nil, fmt.Errorf("the payload (%d bytes at %d) does not lie in the file (%d bytes): it is truncated or damaged", length, start, size)
	}
	return io.NewSectionReader(r, start, length), nil
}

// decompressor opens payload by its magic. All packers but gzip are followed by the size, which their formats do not
// know of.
func decompressor(magic []byte, payload *io.SectionReader) (io.ReadCloser, error) {
	sized := bufio.NewReader(io.NewSectionReader(payload, 0, payload.Size()-4))
	switch {
	case bytes.HasPrefix(magic, []byte(elf.ELFMAG)):
		return io.NopCloser(payload), nil
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(bufio.NewReader(payload))
		if err != nil {
			return nil, err
		}
		z.Multistream(false)
		return z, nil
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		z, err := xz.NewReader(sized, maxWindow)
		if err != nil {
			return nil, err
		}
		z.Multistream(false)
		return io.NopCloser(z), nil
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		z, err := zstd.NewReader(sized, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow),
			zstd.WithDecoderMaxMemory(maxVmlinux))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(magic, lz4Magic):
		return io.NopCloser(&lz4Legacy{in: sized}), nil
	}
	return nil, fmt.Errorf("the payload is packed in a way noid does not know (it begins with %x)", magic)
}

// copyBounded copies at most maxVmlinux bytes and fails on more.
func copyBounded(w io.Writer, r io.Reader) (int64, error) {
	n, err := io.Copy(w, io.LimitReader(r, maxVmlinux+1))
	if err == nil && n > maxVmlinux {
		err = fmt.Errorf("it unpacks to more than %d MiB", maxVmlinux>>20)
	}
	if err != nil {
		return n, fmt.Errorf("unpacking: %w", err)
	}
	return n, nil
}

var lz4Magic = []byte("\x02\x21\x4c\x18")

// lz4Legacy reads LZ4's legacy frames (lz4 -l), which end only where the input does: lz4_Frame_format.md.
type lz4Legacy struct {
	in      io.Reader
	out     []byte // of the current block, unread part
	packed  []byte
	decoded []byte
}

// Read implements io.Reader.
func (l *lz4Legacy) Read(p []byte) (int, error) {
	for len(l.out) == 0 {
		if err := l.block(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.out)
	l.out = l.out[n:]
	return n, nil
}

func (l *lz4Legacy) block() error {
	var word [4]byte
	if _, err := io.ReadFull(l.in, word[:]); err != nil {
		return err // io.EOF between blocks is the end
	}
	if bytes.Equal(word[:], lz4Magic) { // the first frame, or one appended
		return nil
	}
	size := int64(le.Uint32(word[:]))
	if size == 0 || size > int64(lz4.CompressBlockBound(lz4Block)) {
		return fmt.Errorf("an lz4 block of %d bytes", size)
	}
	if l.packed == nil {
		l.packed, l.decoded = make([]byte, lz4.CompressBlockBound(lz4Block)), make([]byte, lz4Block)
	}
	if _, err := io.ReadFull(l.in, l.packed[:size]); err != nil {
		return io.ErrUnexpectedEOF
	}
	n, err := lz4.UncompressBlock(l.packed[:size], l.decoded)
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("an empty lz4 block")
	}
	l.out = l.decoded[:n]
	return nil
}
