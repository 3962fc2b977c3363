package firecracker

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"noid/internal/storage"
	"noid/internal/vmm"
)

// A Diff snapshot has the pages written since the last snapshot, the load or the boot: since the moment of the base.
// The base is a file in the VM's directory with all of the guest's memory at that moment: a name more of the inode that
// was snapshotted or loaded, or holes for the nothing that a boot begins with. A Diff written into a clone of it in
// place is a whole memory file, which needs no other to be loaded.
//
// The name ends with the file's time of modification in nanoseconds, so that a file that was written to since is not
// taken for it. Firecracker may only read it. Without a base the next snapshot is Full.
//
// A base with the other prefix is the VM's own: no checkpoint has it, and no Firecracker has ever mapped it. So a Diff
// may be written into the file itself.
const (
	basePrefix = "memory.base."
	ownPrefix  = "memory.own."
)

// bases returns the paths of what calls itself a base in dir. More than one is none.
func bases(dir string) (found []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), basePrefix) || strings.HasPrefix(e.Name(), ownPrefix) {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found
}

// base returns the base of the Firecracker in dir.
func base(dir string) (path string, info fs.FileInfo, ok bool) {
	found := bases(dir)
	if len(found) != 1 {
		return "", nil, false
	}
	info, err := os.Lstat(found[0])
	if err != nil || !info.Mode().IsRegular() {
		return "", nil, false
	}
	if found[0] != baseName(dir, basePrefix, info) && found[0] != baseName(dir, ownPrefix, info) {
		return "", nil, false
	}
	return found[0], info, true
}

func baseName(dir, prefix string, info fs.FileInfo) string {
	return filepath.Join(dir, prefix+strconv.FormatInt(info.ModTime().UnixNano(), 10))
}

// ownBase returns the base of dir if that is the VM's own.
func ownBase(dir string) (path string, own bool) {
	path, _, ok := base(dir)
	return path, ok && strings.HasPrefix(filepath.Base(path), ownPrefix)
}

// keepNew makes the memory that Firecracker has written the VM's own base. When it fails there is none.
func keepNew(dir string) error {
	path := filepath.Join(dir, newMemorySnap)
	if err := single(path); err != nil {
		return err
	}
	return becomeOwn(dir, path)
}

// becomeOwn renames path, a file below dir, to the VM's own base.
func becomeOwn(dir, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return os.Rename(path, baseName(dir, ownPrefix, info))
}

// setBase makes memory, a file on dir's file system, the base. When it fails there is none.
func setBase(dir, memory string) error {
	if err := dropBase(dir); err != nil {
		return err
	}
	info, err := os.Lstat(memory)
	if err != nil {
		return err
	}
	return os.Link(memory, baseName(dir, basePrefix, info))
}

// emptyBase makes the base of a guest that boots with size bytes of memory.
func emptyBase(dir string, size int64) error {
	if err := dropBase(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ownPrefix)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	return becomeOwn(dir, f.Name())
}

// dropBase makes the next snapshot Full.
func dropBase(dir string) error {
	for _, path := range bases(dir) {
		if err := vmm.Remove(dir, filepath.Base(path)); err != nil {
			return fmt.Errorf("removing the base of a snapshot before: %w", err)
		}
	}
	return nil
}

// prepare clones the base to where the next Diff goes and has it on disk, with the base's time of modification: that
// marks it as a clone of this base, and whole. Without a base nothing is there afterwards.
func prepare(ctx context.Context, dir string) error {
	if err := vmm.Remove(dir, newMemorySnap); err != nil { // of a noid that was killed
		return err
	}
	from, info, ok := base(dir)
	if !ok {
		return nil
	}
	to := filepath.Join(dir, newMemorySnap)
	if _, err := storage.CloneCompact(ctx, to, from); err != nil {
		return err
	}
	if err := storage.SyncFile(ctx, to); err != nil {
		return err
	}
	return os.Chtimes(to, time.Time{}, info.ModTime())
}

// prepared reports whether prepare has cloned the base that dir has now.
func prepared(dir string) bool {
	_, want, ok := base(dir)
	got, err := os.Lstat(filepath.Join(dir, newMemorySnap))
	return ok && err == nil && got.Mode().IsRegular() && got.Size() == want.Size() && got.ModTime().Equal(want.ModTime())
}
