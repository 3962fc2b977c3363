package vmm

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// OpenIn opens the regular file dir/name. A guest that took its VMM over may have put a link or a FIFO there: neither is
// followed or waited for.
func OpenIn(dir, name string, flags int) (*os.File, error) {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Tail returns the end of a log, at most max bytes, or nil. What it returns is not sanitised.
func Tail(path string, max int64) []byte {
	data, _ := TailSize(path, max)
	return data
}

// TailSize is Tail, and the file's size.
func TailSize(path string, max int64) ([]byte, int64) {
	f, err := OpenIn(filepath.Dir(path), filepath.Base(path), unix.O_RDONLY)
	if err != nil {
		return nil, 0
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0
	}
	buf := make([]byte, min(max, info.Size()))
	n, err := f.ReadAt(buf, info.Size()-int64(len(buf)))
	if err != nil && err != io.EOF {
		return nil, 0
	}
	return buf[:n], info.Size()
}

// Printable makes the end of b, max bytes of it, fit for one line of an error message.
func Printable(b []byte, max int) string {
	cut := len(b) > max
	if cut {
		b = b[len(b)-max:]
	}
	var out strings.Builder
	for _, r := range strings.TrimSpace(strings.ToValidUTF8(string(b), "?")) {
		switch {
		case r == '\n':
			out.WriteString("; ")
		case r == '\r':
		case unicode.IsPrint(r):
			out.WriteRune(r)
		default:
			out.WriteByte('?')
		}
	}
	if cut {
		return "…" + out.String()
	}
	return out.String()
}
