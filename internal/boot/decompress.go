package boot

import (
	"bufio"
	"compress/gzip"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
)

// What packed data begins with.
const (
	gzipMagic = "\x1f\x8b"
	xzMagic   = "\xfd7zXZ\x00"
	zstdMagic = "\x28\xb5\x2f\xfd"
	lz4Magic  = "\x02\x21\x4c\x18" // the legacy format, which Linux uses
)

// limits bound what a decompressor may use, in bytes.
type limits struct {
	window int   // of memory
	size   int64 // of unpacked data
}

// decompressor returns a reader of the data that r has packed. The first bytes tell how. Data that is not packed, or in
// a way noid does not know, comes as it is, and packed is false. The caller bounds what it reads by limits.size.
func decompressor(r *bufio.Reader, l limits) (out io.ReadCloser, packed bool, err error) {
	start, _ := r.Peek(len(xzMagic)) // fewer bytes have no magic
	switch magic := string(start); {
	case strings.HasPrefix(magic, gzipMagic):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, true, err
		}
		z.Multistream(false)
		return z, true, nil
	case strings.HasPrefix(magic, xzMagic):
		z, err := xz.NewReader(r, uint32(l.window))
		if err != nil {
			return nil, true, err
		}
		z.Multistream(false)
		return io.NopCloser(z), true, nil
	case strings.HasPrefix(magic, zstdMagic):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(uint64(l.window)),
			zstd.WithDecoderMaxMemory(uint64(l.size)))
		if err != nil {
			return nil, true, err
		}
		return z.IOReadCloser(), true, nil
	case strings.HasPrefix(magic, lz4Magic):
		return io.NopCloser(lz4.NewReader(r)), true, nil
	}
	return io.NopCloser(r), false, nil
}
