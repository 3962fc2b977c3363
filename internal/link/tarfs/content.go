package tarfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// small is the size in bytes up to which a file is read before its header is written: then its length is right, though
// it became shorter.
const small = 64 << 10

// file sends a regular file, as long as it is now: what is appended meanwhile is not copied.
func (c *creator) file(f *os.File, name string) error {
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return changed(name)
	}
	h, st := header(fi, name), fi.Sys().(*syscall.Stat_t)
	h.Typeflag, h.Size = tar.TypeReg, fi.Size()
	if key := (inode{uint64(st.Dev), st.Ino}); st.Nlink > 1 && c.opts.Recursive {
		if first, ok := c.links[key]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return c.write(h)
		}
		if len(c.links) < maxLinks {
			c.links[key] = name
		}
	}
	c.attributes(h, f)
	if kernelFile(f) {
		return c.pieces(reader(func(b []byte) (int, error) { return readNow(f, b) }), h, maxKernelFile)
	}
	var content io.Reader = f
	if m, ok := scanSparse(f, h.Size, st.Blocks*512); ok && !c.opts.Plain {
		record(h, sparseRecord, m.String())
		h.Size, content = m.data(), m.reader(f)
	} else if _, err := f.Seek(0, io.SeekStart); err != nil {
		return about(name, err)
	} else if h.Size <= small {
		n, err := io.ReadFull(f, c.buf[:h.Size])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return about(name, err)
		}
		h.Size, content = int64(n), bytes.NewReader(c.buf[:n]) // copy reads it back to where it is
	}
	if err := c.write(h); err != nil {
		return err
	}
	return c.copy(content, name, h.Size)
}

// copy sends size bytes of a file. A file that became shorter is filled up with zeros: its header is gone already.
func (c *creator) copy(r io.Reader, name string, size int64) error {
	var failed error
	for size > 0 {
		buf, n := c.buf[:min(int64(len(c.buf)), size)], 0
		if failed == nil {
			if n, failed = io.ReadFull(r, buf); failed == io.EOF || failed == io.ErrUnexpectedEOF {
				failed = errors.New("became shorter while it was read: the copy ends in zeros")
			}
			if failed != nil {
				c.skip("%q: %v", name, cause(failed))
			}
		}
		clear(buf[n:])
		if _, err := c.tw.Write(buf); err != nil {
			return err
		}
		size -= int64(len(buf))
		c.stats.Bytes += int64(len(buf))
	}
	return nil
}

// flow sends what can be read of f: a pipe, a device, or an open file from where it stands.
func (c *creator) flow(f *os.File, name string) error {
	fi, err := f.Stat()
	if err != nil {
		return about(name, err)
	}
	h, limit := header(fi, name), int64(math.MaxInt64)
	h.Typeflag = tar.TypeReg
	if fi.Mode().IsRegular() {
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return about(name, err)
		}
		limit = max(fi.Size()-at, 0)
	} else { // mode and times are the pipe's or the device's, not the content's
		h.Mode, h.ModTime = 0o644, time.Now()
	}
	return c.pieces(io.LimitReader(f, limit), h, math.MaxInt64)
}

// pieces sends at most limit bytes of a file whose length is not known beforehand: as entries of one name, of which all
// but the last have moreRecord. A plain stream has but one.
func (c *creator) pieces(r io.Reader, h *tar.Header, limit int64) error {
	if c.opts.Plain {
		limit = int64(len(c.buf))
	}
	for sent := int64(0); ; {
		n, err := io.ReadFull(r, c.buf)
		sent += int64(n)
		more := err == nil && sent < limit
		switch {
		case more, err == io.EOF, err == io.ErrUnexpectedEOF:
		case err == nil:
			c.skip("%q has no length: only its first %d KiB were copied", h.Name, sent>>10)
		case sent == 0:
			return about(h.Name, err)
		default:
			c.skip("%q: %v", h.Name, cause(err))
		}
		piece := *h
		piece.Size = int64(n)
		if more {
			piece.PAXRecords = maps.Clone(h.PAXRecords)
			record(&piece, moreRecord, "1")
		}
		if err := c.write(&piece); err != nil {
			return err
		}
		if _, err := c.tw.Write(c.buf[:n]); err != nil {
			return err
		}
		c.stats.Bytes += int64(n)
		if !more {
			return nil
		}
	}
}

// reader is a Read method.
type reader func([]byte) (int, error)

func (r reader) Read(b []byte) (int, error) { return r(b) }

// readNow reads what there is, and does not wait for more as f.Read does: a log of the kernel's, say, has no end.
func readNow(f *os.File, b []byte) (n int, err error) {
	control(f, func(fd int) {
		for n, err = unix.Read(fd, b); err == unix.EINTR; {
			n, err = unix.Read(fd, b)
		}
	})
	if err == nil && n == 0 {
		err = io.EOF
	}
	return max(n, 0), err
}
