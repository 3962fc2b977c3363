package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/untrusted"
)

// tail reads a growing log from some offset on. It skips what BoundLog has punched out and starts again from 0 when the
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

// lastLine returns the unfinished last line of the log, at most max bytes of it, and moves behind it.
func (t *tail) lastLine(max int64) ([]byte, error) {
	info, err := t.f.Stat()
	if err != nil {
		return nil, err
	}
	t.off = info.Size()
	buf := make([]byte, min(max, t.off))
	n, err := t.f.ReadAt(buf, t.off-int64(len(buf)))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return buf[bytes.LastIndexAny(buf[:n], "\n\x00")+1 : n], nil // NUL: the end of a hole
}

// skipTo moves to where the last lines of the log begin. An unfinished one counts.
func (t *tail) skipTo(lines int) error {
	info, err := t.f.Stat()
	if err != nil {
		return err
	}
	t.off = info.Size()
	if lines == 0 {
		return nil
	}
	begin, err := unix.Seek(int(t.f.Fd()), 0, unix.SEEK_DATA) // what BoundLog has removed has no lines, and may be long
	if err != nil {
		begin = 0
	}
	buf := make([]byte, 32<<10)
	for end := t.off; end > begin; {
		piece := buf[:min(int64(len(buf)), end-begin)]
		end -= int64(len(piece))
		if _, err := t.f.ReadAt(piece, end); err != nil && !errors.Is(err, io.EOF) { // it may have been shortened
			return err
		}
		for i := len(piece) - 1; i >= 0; i-- {
			if piece[i] == '\n' && end+int64(i)+1 < info.Size() {
				if lines--; lines == 0 {
					t.off = end + int64(i) + 1
					return nil
				}
			}
		}
	}
	t.off = 0
	return nil
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
	// Stop at the next hole: it may be a gap that BoundLog makes right now.
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

var errGone = errors.New("the VM is gone")

// pace spaces the reads of a log.
type pace struct {
	pause time.Duration
	dead  bool // the VM is, but it may have left something to read
}

// wait is for a read that found nothing. It returns errGone when the VM was gone before that read. A nil alive says
// that it never is.
func (p *pace) wait(ctx context.Context, alive func() bool) error {
	if p.dead {
		return errGone
	}
	if p.pause == pollMax && alive != nil && !alive() {
		p.dead = true
		return nil
	}
	p.pause = min(max(2*p.pause, pollMin), pollMax)
	return sleep(ctx, p.pause)
}
