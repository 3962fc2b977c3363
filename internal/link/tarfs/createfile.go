package tarfs

import (
	"archive/tar"
	"context"
	"io"
	"io/fs"
	"time"
)

// CreateFile writes what r has as the file name to w: a stream as Create writes of one file whose length is not known
// beforehand. When r fails, the stream is not whole, and who extracts it makes no file.
func CreateFile(ctx context.Context, w io.Writer, name string, mode fs.FileMode, r io.Reader) error {
	c := &creator{tw: tar.NewWriter(stream{ctx, w}), buf: make([]byte, 256<<10)}
	c.warner = warner{nil, &c.stats}
	h := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(mode.Perm()), ModTime: time.Now()}
	for more := true; more; {
		n, err := fill(c.buf, r)
		if more = err == nil; err != nil && err != io.EOF {
			return about(name, err)
		}
		piece := h
		if piece.Size = int64(n); more {
			record(&piece, moreRecord, "1")
		}
		if err := c.write(&piece); err != nil {
			return err
		}
		if _, err := c.tw.Write(c.buf[:n]); err != nil {
			return err
		}
	}
	return c.end()
}

// fill reads until b is full, or r ends or fails, which is the error. Unlike io.ReadFull's it is r's own: the
// io.ErrUnexpectedEOF of an upload that breaks off is no end.
func fill(b []byte, r io.Reader) (n int, err error) {
	for n < len(b) && err == nil {
		var more int
		more, err = r.Read(b[n:])
		n += more
	}
	return n, err
}
