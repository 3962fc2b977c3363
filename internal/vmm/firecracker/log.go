package firecracker

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// tail returns the last max bytes of a file in dir, or nil.
func tail(dir, name string, max int64) []byte {
	data, _ := tailSize(dir, name, max)
	return data
}

// tailSize is tail, and the file's size. A guest that took Firecracker over may have put a link or a FIFO there: neither
// is followed or waited for.
func tailSize(dir, name string, max int64) ([]byte, int64) {
	f, err := openIn(dir, name, unix.O_RDONLY)
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

// openIn opens the regular file dir/name without following a symbolic link.
func openIn(dir, name string, flags int) (*os.File, error) {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: unix.EINVAL}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// printable makes the end of b, max bytes of it, fit for one line of an error message.
func printable(b []byte, max int) string {
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
