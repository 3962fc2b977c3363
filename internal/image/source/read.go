package source

import (
	"bufio"
	"compress/bzip2"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"noid/internal/errs"
)

// maxWindow bounds the memory that a decompressor may use, in bytes: zstd -19 and xz -9 need 8 and 64 MiB.
const maxWindow = 128 << 20

// decompress returns what r has packed. The first bytes tell how, as media types and names of files may be wrong. Data
// that is not packed comes as it is.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	start, _ := b.Peek(6) // fewer bytes have no magic
	switch magic := string(start); {
	case strings.HasPrefix(magic, "\x1f\x8b"):
		return gzip.NewReader(b)
	case strings.HasPrefix(magic, "\xfd7zXZ\x00"):
		z, err := xz.NewReader(b, maxWindow)
		return io.NopCloser(z), err
	case strings.HasPrefix(magic, "\x28\xb5\x2f\xfd"):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case strings.HasPrefix(magic, "BZh"):
		return io.NopCloser(bzip2.NewReader(b)), nil
	}
	return io.NopCloser(b), nil
}

// reader is a layer's archive, checked at its end. It ends with ctx.
type reader struct {
	ctx   context.Context
	layer *Layer
	raw   io.ReadCloser
	tar   io.ReadCloser
	ahead *ahead // of tar; nil once closed
	sum   hash.Hash
	err   error // what ended it, io.EOF included
}

func newReader(ctx context.Context, l *Layer, raw io.ReadCloser) (*reader, error) {
	r := &reader{ctx: ctx, layer: l, raw: raw}
	var err error
	if r.sum, err = newHash(l.DiffID); err != nil { // each time: a file may have been changed since
		return nil, err
	}
	if r.tar, err = decompress(raw); err != nil {
		return nil, r.explain(err)
	}
	r.ahead = newAhead(r.tar)
	return r, nil
}

func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.err = r.ctx.Err(); r.err != nil {
		return 0, r.err
	}
	n, err := r.ahead.Read(p)
	r.sum.Write(p[:n])
	switch {
	case err == nil:
	case err == io.EOF:
		r.err = r.check()
	default:
		r.err = r.explain(err)
	}
	return n, r.err
}

// check is what follows the last byte: io.EOF, or another error if the digest is wrong.
func (r *reader) check() error {
	if err := checkSum(r.sum, r.layer.DiffID); err != nil {
		r.damaged()
		if r.layer.tree {
			return errs.WithHint(fmt.Errorf("it has changed since it was read for its digest: %w", err), "try again when nothing writes there")
		}
		return fmt.Errorf("layer %s: %w", r.layer.name(), err)
	}
	r.layer.verified = true
	return io.EOF
}

// explain is why the archive cannot be read on: err, or that its bytes did not come, or are not those of its digest.
func (r *reader) explain(err error) error {
	if d, ok := r.raw.(*downloadReader); ok {
		if fetch := d.verdict(); fetch != nil {
			return fmt.Errorf("layer %s: %w", r.layer.name(), fetch)
		}
	}
	r.damaged()
	return fmt.Errorf("layer %s: it is damaged: %w", r.layer.name(), err)
}

func (r *reader) damaged() {
	if r.layer.damaged != nil {
		r.layer.damaged()
	}
}

// maxPadding bounds what Close reads, in bytes: what tar programs write after an archive's end.
const maxPadding = 1 << 20

// Close reads what is left, if that is little, so that the digest is known.
func (r *reader) Close() error {
	if r.ahead == nil {
		return nil
	}
	if r.err == nil {
		io.CopyN(io.Discard, r, maxPadding) // its error is r.err
	}
	err := r.err
	if err == nil || err == io.EOF {
		err = nil
		r.err = errors.New("closed")
	}
	closed := r.raw.Close() // first: it ends a read that blocks
	r.ahead.close()
	r.ahead = nil
	r.tar.Close()
	return errors.Join(err, closed)
}

// newHash returns the hash of a digest such as "sha256:…".
func newHash(digest string) (hash.Hash, error) {
	algorithm, sum, _ := strings.Cut(digest, ":")
	var h hash.Hash
	switch algorithm {
	case "sha256":
		h = sha256.New()
	case "sha512":
		h = sha512.New()
	}
	if h == nil || len(sum) != 2*h.Size() || strings.Trim(sum, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("%.80q is no digest", digest)
	}
	return h, nil
}

// checkSum compares what was read with the digest that it should have.
func checkSum(h hash.Hash, want string) error {
	algorithm, _, _ := strings.Cut(want, ":")
	if got := algorithm + ":" + hex.EncodeToString(h.Sum(nil)); got != want {
		return &DigestError{Got: got, Want: want}
	}
	return nil
}

// DigestError is bytes that are not those that their digest names.
type DigestError struct{ Got, Want string }

func (e *DigestError) Error() string { return fmt.Sprintf("its digest is %s, not %s", e.Got, e.Want) }

// digestOf is the digest of data.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
