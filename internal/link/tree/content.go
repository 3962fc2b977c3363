package tree

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"io"
)

// Ask asks for a regular file's content.
type Ask struct {
	Path  string
	Base  bool // what the image has there
	Limit int  // how many bytes of the content to send, beside its sum. A file that is longer is not sent at all
}

// Content answers an Ask.
type Content struct {
	OK   bool // it could be read, and has at most MaxContent bytes
	Sum  [sha256.Size]byte
	Data []byte // nil: it is longer than the limit
}

// MaxContent is how long a file may be that is read, in bytes.
const MaxContent = 64 << 20

// The flags of an Ask and of a Content.
const (
	ofBase = 1 << iota
	isOK
	hasData
)

// AppendAsk appends a to b as ReadAsk reads it.
func AppendAsk(b []byte, a Ask) []byte {
	flags := byte(0)
	if a.Base {
		flags = ofBase
	}
	return appendText(binary.AppendUvarint(append(b, flags), uint64(a.Limit)), a.Path)
}

// ReadAsk reads the next Ask, or io.EOF.
func ReadAsk(r *bufio.Reader) (a Ask, err error) {
	flags, err := r.ReadByte()
	if err != nil {
		return a, err
	}
	in := Reader{r: r}
	limit, err := in.number()
	if err != nil {
		return a, err
	}
	a.Base, a.Limit = flags&ofBase != 0, int(min(limit, MaxContent))
	a.Path, err = in.text()
	return a, err
}

// WriteContent writes c as ReadContent reads it.
func WriteContent(w io.Writer, c Content) error {
	flags := byte(0)
	if c.OK {
		flags |= isOK
	}
	if c.Data != nil {
		flags |= hasData
	}
	b := append([]byte{flags}, c.Sum[:]...)
	if c.Data != nil {
		b = binary.AppendUvarint(b, uint64(len(c.Data)))
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	_, err := w.Write(c.Data)
	return err
}

// ReadContent reads the answer to an Ask with that limit.
func ReadContent(r *bufio.Reader, limit int) (c Content, err error) {
	flags, err := r.ReadByte()
	if err == nil {
		_, err = io.ReadFull(r, c.Sum[:])
	}
	if err != nil {
		return c, unexpected(err)
	}
	if c.OK = flags&isOK != 0; flags&hasData == 0 {
		return c, nil
	}
	in := Reader{r: r}
	n, err := in.number()
	if err != nil {
		return c, err
	}
	if n > uint64(limit) {
		return c, ErrBad
	}
	c.Data = make([]byte, n)
	_, err = io.ReadFull(r, c.Data)
	return c, unexpected(err)
}
