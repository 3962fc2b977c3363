package tarfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxExtents bounds a sparse file's map. A file in more pieces has its smallest holes sent as zeros.
const maxExtents = 8192

// extent is a run of data in a sparse file, in bytes.
type extent struct{ off, len int64 }

// sparseMap is where the data of a file is. Its text is the value of the sparse record: the file's size, then
// "OFFSET+LENGTH" of each extent, all decimal and separated by commas, such as "1048576,0+4096,65536+512".
type sparseMap struct {
	size    int64
	extents []extent
}

// data is the number of bytes in the extents.
func (m sparseMap) data() (n int64) {
	for _, e := range m.extents {
		n += e.len
	}
	return n
}

func (m sparseMap) String() string {
	b := strconv.AppendInt(nil, m.size, 10)
	for _, e := range m.extents {
		b = strconv.AppendInt(append(b, ','), e.off, 10)
		b = strconv.AppendInt(append(b, '+'), e.len, 10)
	}
	return string(b)
}

var errSparse = errors.New("damaged map of a sparse file")

// parseSparse reads a map and refuses one that is not in order, overlaps, leaves the file, or does not add up to the
// size of the entry that holds its data.
func parseSparse(s string, data int64) (m sparseMap, err error) {
	size, rest, more := strings.Cut(s, ",")
	end, sum := int64(0), int64(0)
	m.size, err = parseSize(size)
	for err == nil && more {
		var word string
		var e extent
		word, rest, more = strings.Cut(rest, ",")
		off, length, _ := strings.Cut(word, "+")
		if e.off, err = parseSize(off); err == nil {
			e.len, err = parseSize(length)
		}
		// Neither sum can overflow: both are at most m.size.
		if e.len == 0 || e.off < end || e.off > m.size || e.len > m.size-e.off || len(m.extents) == maxExtents {
			return m, errSparse
		}
		end, sum = e.off+e.len, sum+e.len
		m.extents = append(m.extents, e)
	}
	if err == nil && sum != data {
		err = errSparse
	}
	return m, err
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || s[0] == '+' || s[0] == '-' {
		return 0, errSparse
	}
	return n, nil
}

// scanSparse returns where f has data, or ok false for a file without a hole worth the name, or on a file system that
// does not tell.
func scanSparse(f *os.File, size, allocated int64) (m sparseMap, ok bool) {
	if allocated >= size {
		return m, false
	}
	for least := int64(4096); least < size; least *= 8 {
		m, err := scanHoles(f, size, least)
		if err == nil {
			return m, m.data() < size
		}
		if err != errManyExtents {
			break
		}
	}
	return m, false
}

var errManyExtents = fmt.Errorf("more than %d extents", maxExtents)

// scanHoles lists the data of f up to size, holes shorter than least being data too.
func scanHoles(f *os.File, size, least int64) (sparseMap, error) {
	m := sparseMap{size: size}
	for pos := int64(0); pos < size; {
		start, err := f.Seek(pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && start >= size {
			break // nothing but a hole from here on
		}
		if err != nil {
			return m, err
		}
		end, err := f.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return m, err
		}
		end = min(end, size)
		if end <= start { // it shrank meanwhile
			break
		}
		last := len(m.extents) - 1
		switch {
		case last >= 0 && start-(m.extents[last].off+m.extents[last].len) < least:
			m.extents[last].len = end - m.extents[last].off
		case last+1 == maxExtents:
			return m, errManyExtents
		default:
			m.extents = append(m.extents, extent{start, end - start})
		}
		pos = end
	}
	return m, nil
}

// reader returns the data of f's extents, one after the other.
func (m sparseMap) reader(f *os.File) io.Reader {
	var parts []io.Reader
	for _, e := range m.extents {
		parts = append(parts, io.NewSectionReader(f, e.off, e.len))
	}
	return io.MultiReader(parts...)
}
