package console

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"noid/internal/untrusted"
)

// tail reads a growing log from some offset on. It skips what Guard has punched out and starts again from 0 when the
// file became shorter than what it has read.
type tail struct {
	f    *os.File
	off  int64
	lost int64 // bytes that were gone before they could be read
}

// openTail opens the log at offset 0.
func openTail(path string) (*tail, error) {
	f, err := untrusted.Open(filepath.Dir(path), filepath.Base(path), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return &tail{f: f}, nil
}

func (t *tail) Close() error { return t.f.Close() }

// toEnd moves to the log's present end.
func (t *tail) toEnd() error {
	info, err := t.f.Stat()
	if err != nil {
		return err
	}
	t.off = info.Size()
	return nil
}

// lastLine returns the unfinished last line of the log, at most max bytes of it, and moves behind it.
func (t *tail) lastLine(max int64) ([]byte, error) {
	if err := t.toEnd(); err != nil {
		return nil, err
	}
	buf := make([]byte, min(max, t.off))
	n, err := t.f.ReadAt(buf, t.off-int64(len(buf)))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	buf = buf[:n]
	for i := len(buf) - 1; i >= 0; i-- {
		if buf[i] == '\n' || buf[i] == 0 { // NUL: the end of a hole
			return buf[i+1:], nil
		}
	}
	return buf, nil
}

// read fills buf with what is new; 0 and no error mean that nothing is.
func (t *tail) read(buf []byte) (int, error) {
	info, err := t.f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() < t.off {
		t.off = 0
	}
	if info.Size() == t.off {
		return 0, nil
	}
	// Where a hole begins is only known by asking. A guest's own NULs were written, and are data.
	data, err := unix.Seek(int(t.f.Fd()), t.off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // a hole up to the end, or truncated just now
		data = info.Size()
	case errors.Is(err, unix.EINVAL): // this file system cannot tell
		data = t.off
	case err != nil:
		return 0, err
	}
	t.lost += data - t.off
	t.off = data
	// Stop at the next hole: it may be a gap that Guard makes right now.
	if hole, err := unix.Seek(int(t.f.Fd()), t.off, unix.SEEK_HOLE); err == nil && hole > t.off {
		buf = buf[:min(int64(len(buf)), hole-t.off)]
	}
	n, err := t.f.ReadAt(buf, t.off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	t.off += int64(n)
	return n, err
}
