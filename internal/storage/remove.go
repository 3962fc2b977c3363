package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// RemoveAll is os.RemoveAll that also removes directories without write permission: checkpoints are read-only. Links
// are removed, never followed.
func RemoveAll(dir string) error {
	// As a rule nothing is in the way, and root is never stopped. A VM's helper that is about to end may still make a
	// file.
	err := os.RemoveAll(dir)
	for try := 0; errors.Is(err, unix.ENOTEMPTY) && try < emptyTries; try++ {
		time.Sleep(emptyPause)
		err = os.RemoveAll(dir)
	}
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return wrapRemove(dir, err)
	}
	parent, base := filepath.Split(filepath.Clean(dir))
	// os.Root resolves every name below parent without leaving it, even if a link takes a directory's place meanwhile.
	root, err := os.OpenRoot(filepath.Clean(parent + "."))
	if err != nil {
		return wrapRemove(dir, err)
	}
	defer root.Close()
	if err := makeWritable(root, base, 0); err != nil {
		return wrapRemove(dir, err)
	}
	return wrapRemove(dir, root.RemoveAll(base))
}

// A directory in which somebody still makes files is tried again for two seconds.
const (
	emptyTries = 100
	emptyPause = 20 * time.Millisecond
)

// maxDepth bounds the recursion: noid's own trees are three levels deep.
const maxDepth = 100

func makeWritable(root *os.Root, name string, depth int) error {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.IsDir()) {
		return nil
	} else if err != nil {
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("%s: directories more than %d deep", name, maxDepth)
	}
	if err := root.Chmod(name, info.Mode().Perm()|0o700); err != nil {
		return err
	}
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	d.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := makeWritable(root, filepath.Join(name, e.Name()), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func wrapRemove(dir string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("removing %s: %w", dir, err)
}
