// Package tree is the list of a guest's files that its agent writes for 'noid diff', in an order in which two lists can be
// compared as they come. The guest is hostile: Reader bounds all that it takes.
package tree

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of a list. What is beyond them the agent leaves out, and says so; a Reader refuses it.
const (
	MaxPath    = 8 << 10 // bytes
	MaxEntries = 8 << 20
)

// File is what stat(2) says of a file. Times are in ns since 1970.
type File struct {
	Mode         uint32 // kind and permissions, as in struct stat
	UID, GID     uint32
	Links        uint32
	Device       uint64 // of a device
	Size         int64
	Inode        uint64
	Mtime, Ctime int64
	Birth        int64  // 0 where the file system does not know
	Target       string // of a symbolic link
}

// Entry is a path of the guest and what is there.
type Entry struct {
	Path string // from the root, without a slash before it; the root itself is ""
	Now  *File  // nil: nothing
	Base *File  // what the image has there, in a list of changes alone
}

// Less orders paths: a directory comes before what is in it, and that before its next neighbour.
func Less(a, b string) bool { return compare(a, b) < 0 }

func compare(a, b string) int {
	n := shared(a, b)
	at := func(s string) int {
		switch {
		case n == len(s):
			return -2
		case s[n] == '/':
			return -1
		}
		return int(s[n])
	}
	return cmp.Compare(at(a), at(b))
}

func shared(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// The flags of an entry, and the two ends of a list.
const (
	hasNow = 1 << iota
	hasBase
	ended // the list is whole
	cut   // with ended: something was left out
)

// Writer writes a list.
type Writer struct {
	w    *bufio.Writer
	buf  []byte
	last string
	cut  bool
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriterSize(w, 64<<10)} }

// Write appends an entry. Entries come in order.
func (w *Writer) Write(e Entry) error {
	flags := byte(0)
	if e.Now != nil {
		flags |= hasNow
	}
	if e.Base != nil {
		flags |= hasBase
	}
	n := shared(w.last, e.Path)
	b := append(w.buf[:0], flags)
	b = binary.AppendUvarint(b, uint64(n))
	b = appendText(b, e.Path[n:])
	for _, f := range []*File{e.Now, e.Base} {
		if f == nil {
			continue
		}
		for _, v := range []uint64{uint64(f.Mode), uint64(f.UID), uint64(f.GID), uint64(f.Links), f.Device, uint64(f.Size), f.Inode} {
			b = binary.AppendUvarint(b, v)
		}
		for _, v := range []int64{f.Mtime, f.Ctime - f.Mtime, f.Birth} {
			b = binary.AppendVarint(b, v)
		}
		b = appendText(b, f.Target)
	}
	w.buf, w.last = b, e.Path
	_, err := w.w.Write(b)
	return err
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Cut notes that something is left out.
func (w *Writer) Cut() { w.cut = true }

// Close ends the list.
func (w *Writer) Close() error {
	end := byte(ended)
	if w.cut {
		end |= cut
	}
	w.w.WriteByte(end)
	return w.w.Flush()
}

// Reader reads a list.
type Reader struct {
	r    *bufio.Reader
	last string
	n    int
	// Cut, at the end, is that the guest has left something out.
	Cut bool
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 64<<10)} }

// ErrBad is a list that no agent writes.
var ErrBad = errors.New("the guest's list of files is damaged")

// Read returns the next entry, and io.EOF after the last one. A list that ends early is io.ErrUnexpectedEOF.
func (r *Reader) Read() (e Entry, err error) {
	flags, err := r.r.ReadByte()
	if err != nil {
		return e, unexpected(err)
	}
	if flags&ended != 0 {
		r.Cut = flags&cut != 0
		return e, io.EOF
	}
	if r.n++; r.n > MaxEntries {
		return e, fmt.Errorf("%w: it has more than %d files", ErrBad, MaxEntries)
	}
	n, err := r.number()
	if err != nil || n > uint64(len(r.last)) {
		return e, cmp.Or(err, ErrBad)
	}
	rest, err := r.text()
	if err != nil {
		return e, err
	}
	e.Path = r.last[:n] + rest
	if len(e.Path) > MaxPath || !valid(e.Path) || r.n > 1 && !Less(r.last, e.Path) {
		return e, ErrBad
	}
	r.last = e.Path
	for _, f := range []struct {
		flag byte
		to   **File
	}{{hasNow, &e.Now}, {hasBase, &e.Base}} {
		if flags&f.flag != 0 && err == nil {
			*f.to, err = r.file()
		}
	}
	return e, unexpected(err)
}

// valid reports whether a path is one that a directory can lead to.
func valid(path string) bool {
	if path == "" {
		return true
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." || strings.ContainsRune(name, 0) {
			return false
		}
	}
	return true
}

func (r *Reader) file() (*File, error) {
	f := &File{}
	var err error
	unsigned := func() (v uint64) {
		if err == nil {
			v, err = r.number()
		}
		return v
	}
	signed := func() (v int64) {
		if err == nil {
			v, err = binary.ReadVarint(r.r)
		}
		return v
	}
	f.Mode, f.UID, f.GID, f.Links = uint32(unsigned()), uint32(unsigned()), uint32(unsigned()), uint32(unsigned())
	f.Device, f.Size, f.Inode = unsigned(), int64(unsigned()), unsigned()
	f.Mtime = signed()
	f.Ctime = f.Mtime + signed()
	f.Birth = signed()
	if err == nil {
		f.Target, err = r.text()
	}
	if err == nil && f.Size < 0 {
		err = ErrBad
	}
	return f, err
}

func (r *Reader) number() (uint64, error) {
	n, err := binary.ReadUvarint(r.r)
	return n, unexpected(err)
}

func (r *Reader) text() (string, error) {
	n, err := r.number()
	if err != nil || n == 0 {
		return "", unexpected(err)
	}
	if n > MaxPath {
		return "", ErrBad
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r.r, b)
	return string(b), unexpected(err)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
