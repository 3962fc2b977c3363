package login

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ReadBounded reads a file of at most limit bytes; what is longer is cut.
func ReadBounded(path string, limit int64) (string, error) {
	// A FIFO in the place of a file must not hold the agent up.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return "", fmt.Errorf("%s: not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	return string(data), err
}

// IsDir reports whether path is a directory, or leads to one.
func IsDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}
