package untrusted

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Open opens the regular file dir/name. A link there is not followed, and a FIFO is not waited for: both are errors.
func Open(dir, name string, flags int) (*os.File, error) {
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

// Tail returns the end of a log, at most max bytes, or nil. What it returns may hold anything: see Text and End.
func Tail(path string, max int64) []byte {
	data, _ := TailSize(path, max)
	return data
}

// TailSize is Tail, and the file's size.
func TailSize(path string, max int64) ([]byte, int64) {
	f, err := Open(filepath.Dir(path), filepath.Base(path), unix.O_RDONLY)
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
