package tarfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
)

// target is what takes the content of a file.
type target interface {
	io.WriterAt
	Truncate(size int64) error
}

// receive writes the content of the entry h, and of the pieces that follow it, to f. It returns where the data is.
func (x *extractor) receive(h *tar.Header, f target) (sparseMap, error) {
	m := sparseMap{size: h.Size, extents: []extent{{0, h.Size}}}
	if text, ok := h.PAXRecords[sparseRecord]; ok {
		var err error
		if m, err = parseSparse(text, h.Size); err != nil {
			return m, fmt.Errorf("%w: %v", ErrArchive, err)
		}
	}
	if err := x.fill(x.tr, f, m); err != nil {
		return m, err
	}
	for x.goesOn != "" {
		next, err := x.tr.Next()
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return m, x.archive(err)
		}
		x.note(next)
		if x.seen++; next.Typeflag != tar.TypeReg || next.Name != h.Name || otherSparse(next) || len(m.extents) != 1 {
			return m, fmt.Errorf("%w: %q does not go on", ErrArchive, h.Name)
		}
		if err := x.fill(x.tr, f, sparseMap{extents: []extent{{m.size, next.Size}}}); err != nil {
			return m, err
		}
		m.size += next.Size
		m.extents[0].len = m.size
	}
	x.stats.Bytes += m.data()
	return m, f.Truncate(m.size) // a hole at the end
}

// note keeps in mind whether more pieces follow h.
func (x *extractor) note(h *tar.Header) {
	if x.goesOn = ""; x.strict() && h.PAXRecords[moreRecord] != "" {
		x.goesOn = h.Name
	}
}

// fill copies the data that m places from r to f.
func (x *extractor) fill(r io.Reader, f target, m sparseMap) error {
	for _, e := range m.extents {
		for e.len > 0 {
			n, err := io.ReadFull(r, x.buf[:min(int64(len(x.buf)), e.len)])
			if err != nil {
				return x.archive(err)
			}
			if _, err := f.WriteAt(x.buf[:n], e.off); err != nil {
				return err
			}
			e.off, e.len = e.off+int64(n), e.len-int64(n)
		}
	}
	return nil
}
