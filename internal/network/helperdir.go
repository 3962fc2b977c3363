package network

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"noid/internal/storage"
)

// MakeHelperDir makes HelperDir in the directory dir of a VM, and moves there what the network helper of an earlier noid
// has left in dir itself. It removes what a killed SaveNames has left. No network helper may be at work.
func MakeHelperDir(dir string) error {
	to := filepath.Join(dir, HelperDir)
	if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	storage.RemoveTemp(filepath.Join(to, NamesFile))
	for _, name := range []string{LogFile, NamesFile, FlowsFile} {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(to, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// HelperFile is the path of a file that the network helper of the VM in dir writes: in HelperDir, or in dir itself where
// one of an earlier noid does, and in a checkpoint.
func HelperFile(dir, name string) string {
	path := filepath.Join(dir, name)
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
		return path
	}
	return filepath.Join(dir, HelperDir, name)
}
