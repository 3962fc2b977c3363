// Package program has the network helper, which noid embeds: a program of its own, because its TCP/IP stack would make
// noid itself start slower.
package program

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"noid/internal/errs"
	"noid/internal/storage"
)

const (
	// name is the program's, and the beginning of its files' names.
	name = "noid-net"
	// maxProgram bounds the unpacked program, in bytes.
	maxProgram = 64 << 20
	// unused is how long the program of another noid is kept.
	unused = 24 * time.Hour
)

func sub(f fs.FS, dir string) fs.FS {
	f, _ = fs.Sub(f, dir) // the name is valid
	return f
}

// Has reports whether noid was built with the network helper.
func Has() bool {
	_, err := fs.Stat(files, name+".gz")
	return err == nil
}

// Unpack returns the path of the network helper below dir, where it is unpacked if it is not there yet. Any number of
// noids may do so at a time. The error wraps errs.ErrHost: noid has no network helper.
func Unpack(dir string) (string, error) {
	digest, err := fs.ReadFile(files, name+".sha256")
	packed, err2 := fs.ReadFile(files, name+".gz")
	if errors.Join(err, err2) != nil {
		return "", errs.New(errs.ErrHost, "noid was built without %s", name).Hint("build noid with 'make build'")
	}
	path := filepath.Join(dir, name+"-"+strings.TrimSpace(string(digest)))
	if _, err := os.Lstat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	err = storage.WriteOnce(path, 0o500, func(f *os.File) error {
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err == nil {
			_, err = io.Copy(f, io.LimitReader(z, maxProgram))
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("unpacking %s: %w", name, err)
	}
	removeOthers(dir, path)
	return path, nil
}

// removeOthers removes the programs of noids before this one. One that runs keeps its file.
func removeOthers(dir, path string) {
	all, _ := filepath.Glob(filepath.Join(dir, name+"-*"))
	for _, other := range all {
		if info, err := os.Lstat(other); err == nil && other != path && time.Since(info.ModTime()) > unused {
			os.Remove(other)
		}
	}
}
