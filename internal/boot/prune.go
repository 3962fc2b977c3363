package boot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// hexKey is what 8 bytes of a hash look like in a file's name.
var hexKey = strings.Repeat("[0-9a-f]", 16)

// Beginnings of the names under which 'create' keeps kernels in a cache directory, as they were and unpacked; a key follows.
const (
	KernelPrefix  = "kernel-"
	VmlinuxPrefix = "vmlinux-"
)

// pruned are the names of the files in a cache directory that are made for VMs. A kernel that somebody put there, vmlinux-6.1,
// is none.
var pruned = []string{"initrd-" + hexKey + ".cpio", KernelPrefix + hexKey, VmlinuxPrefix + hexKey}

// Prune deletes the initramfs and extracted kernels in cacheDir that were not used for olderThan and that keep does not
// want; keep is asked of old files alone, with a path below cacheDir as that was given. A VM or a checkpoint records the paths of what it boots
// from: keep has to know them all. olderThan protects what is in use by a 'create' that has not recorded it yet. Other files
// are left alone. A missing cacheDir is no error, and one file's error does not save the others.
func Prune(cacheDir string, keep func(path string) bool, olderThan time.Duration) error {
	entries, err := os.ReadDir(cacheDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	removeStale(cacheDir)
	errList := []error{err}
	for _, e := range entries {
		path := filepath.Join(cacheDir, e.Name())
		if e.Type().IsRegular() && isPruned(e.Name()) && unused(path, olderThan) && !keep(path) {
			errList = append(errList, pruneFile(path, olderThan))
		}
	}
	return errors.Join(errList...)
}

func isPruned(name string) bool {
	for _, pattern := range pruned {
		if ok, _ := filepath.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

// Use notes that the file path of a cache directory is used now: in its access time, as by its modification time a checkpoint knows
// the file again that its VM boots from.
func Use(path string) error { return os.Chtimes(path, time.Now(), time.Time{}) }

// unused reports whether path is there and was not used for olderThan.
func unused(path string, olderThan time.Duration) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	used := time.Unix(info.Sys().(*syscall.Stat_t).Atim.Unix())
	return min(time.Since(used), time.Since(info.ModTime())) > olderThan
}

// pruneFile deletes a file that is old now: keep may have taken its time, and another noid may have begun to use it.
func pruneFile(path string, olderThan time.Duration) error {
	if !unused(path, olderThan) {
		return nil
	}
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) { // another noid was faster
		return nil
	}
	return err
}
