package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"noid/internal/errs"
	"noid/internal/storage"
)

// A VM's directory and that of its checkpoints cannot be renamed at once. While one has its new name and the other has
// not, a link in the staging area, ".ren-OLD-RANDOM", has the new name as its target.
const renamePrefix = ".ren-"

// Rename gives the VM old the name new, and its checkpoints. Either may be missing. Hold the locks of both names; new
// has neither VM nor checkpoints. A failed one has changed nothing. A killed one is undone or finished by Sweep.
func (h *Home) Rename(old, new string) (err error) {
	vmDir, checkpointsDir := h.VMDir(old), h.CheckpointsDir(old)
	if !exists(checkpointsDir) {
		return move(vmDir, h.VMDir(new))
	} else if !exists(vmDir) {
		return move(checkpointsDir, h.CheckpointsDir(new))
	}
	mark := h.staged(renamePrefix, old)
	if err := os.Symlink(new, mark); err != nil {
		return err
	}
	defer os.Remove(mark)
	if err := storage.SyncDir(h.StagingRoot()); err != nil {
		return err
	}
	if err := move(checkpointsDir, h.CheckpointsDir(new)); err != nil {
		return err
	}
	if err := move(vmDir, h.VMDir(new)); err != nil {
		return errors.Join(err, move(h.CheckpointsDir(new), checkpointsDir))
	}
	return nil
}

// move renames a directory, which has its old name when that fails.
func move(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := storage.SyncDir(filepath.Dir(to)); err != nil {
		return errors.Join(err, os.Rename(to, from))
	}
	return nil
}

// sweepRename ends the rename whose mark is base in the staging area, unless somebody is at it. If only the checkpoints
// have their new name, the VM gets it too. Else nothing has been done yet, or all.
func (h *Home) sweepRename(ctx context.Context, base, verb string) error {
	mark := filepath.Join(h.StagingRoot(), base)
	old, _ := splitStaged(base)
	new, err := os.Readlink(mark)
	if err != nil || CheckName(old) != nil || CheckName(new) != nil {
		return nil // it is over, or none of ours
	}
	for _, name := range []string{old, new} {
		lock, err := h.lockWithin(ctx, name, verb, 0)
		if errors.Is(err, errs.ErrBusy) {
			return nil
		} else if err != nil {
			return err
		}
		defer lock.Unlock()
	}
	if !exists(h.CheckpointsDir(old)) && exists(h.CheckpointsDir(new)) && exists(h.VMDir(old)) && !exists(h.VMDir(new)) {
		if err := move(h.VMDir(old), h.VMDir(new)); err != nil {
			return fmt.Errorf("finishing 'noid rename %s %s': %w", old, new, err)
		}
	}
	return os.Remove(mark)
}

// exists reports whether path is there, or may be: nobody can tell.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
