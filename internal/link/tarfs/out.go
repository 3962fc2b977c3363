package tarfs

import (
	"archive/tar"
	"context"
	"fmt"
	"io/fs"
	"os"
)

// openOut makes dst x.out if it is not to be replaced but written: an open file of this process, a device, a FIFO.
func (x *extractor) openOut(dst string, h *tar.Header) error {
	if f := descriptor(dst); f != nil {
		if fi, err := f.Stat(); err == nil && fi.IsDir() {
			return f.Close()
		}
		x.out = f
		return nil
	}
	fi, err := os.Stat(dst)
	if err != nil || fi.Mode()&(fs.ModeDevice|fs.ModeNamedPipe) == 0 || h.Typeflag != tar.TypeReg {
		return nil
	}
	var f *os.File
	err = await(x.ctx, func() (err error) { // until a FIFO has a reader
		f, err = os.OpenFile(dst, os.O_WRONLY, 0)
		return err
	})
	if err != nil {
		return about(dst, err)
	}
	x.out = f
	return nil
}

// pour writes the content of the entry h to x.out.
func (x *extractor) pour(h *tar.Header, first bool) error {
	switch {
	case !first:
		return fmt.Errorf("%w: more than the file %q", ErrArchive, x.opts.Name)
	case h.Typeflag != tar.TypeReg:
		return fmt.Errorf("%q takes the content of a file, and %q is none", x.out.Name(), h.Name)
	}
	_, err := x.receive(h, &sequence{ctx: x.ctx, f: x.out})
	return named(x.out.Name(), err)
}

// sequence is a target that takes bytes one after the other.
type sequence struct {
	ctx context.Context
	f   *os.File
	at  int64
}

var zeros [64 << 10]byte

// Truncate writes the zeros up to size.
func (s *sequence) Truncate(size int64) error {
	for s.at < size {
		if err := s.write(zeros[:min(int64(len(zeros)), size-s.at)]); err != nil {
			return err
		}
	}
	return nil
}

// WriteAt implements io.WriterAt for an off that is not before the last one's end.
func (s *sequence) WriteAt(b []byte, off int64) (int, error) {
	if err := s.Truncate(off); err != nil {
		return 0, err
	}
	return len(b), s.write(b)
}

func (s *sequence) write(b []byte) error {
	s.at += int64(len(b))
	return await(s.ctx, func() error {
		_, err := s.f.Write(b)
		return err
	})
}

// await calls do, which may wait for ever, and returns earlier if ctx ends. Then do goes on by itself.
func await(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
