package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"noid/internal/checkpoint"
	"noid/internal/errs"
)

// Rename gives the VM old and its checkpoints the name new, whether it runs or not. Its guest goes on, and is not told:
// its hostname stays. Of a VM that was destroyed the checkpoints get the name.
func (m *Manager) Rename(ctx context.Context, old, new string) error {
	m.beginChange(ctx, "rename")
	lock, err := m.Home.Lock(ctx, old, "rename")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if _, err := m.Home.CheckpointIDs(old); err != nil { // neither a VM nor a checkpoint
		return err
	}
	if old == new {
		return errs.New(errs.ErrExists, "vm %q has that name already", old)
	}
	v, _ := m.record(old)
	v.Name = old // a damaged record has none
	if err := mayChange(v, m.Home.VMDir(old), "rename"); err != nil {
		return err
	}
	if err := m.unused(new); err != nil { // before it is waited for
		return err
	}
	newLock, err := m.lockNew(ctx, new, "rename")
	if err != nil {
		return err
	}
	defer newLock.Unlock()
	if err := m.unused(new); err != nil { // since
		return err
	}
	if err := m.Home.Rename(old, new); err != nil {
		return fmt.Errorf("renaming vm %q to %q: %w", old, new, err)
	}
	// Its records need not be written: whose they are, their directory says.
	if ref, err := os.Readlink(filepath.Join(m.Home.VMDir(new), lastFile)); err == nil {
		if err := noteLast(m.Home.VMDir(new), checkpoint.Renamed(ref, old, new)); err != nil {
			m.warn(fmt.Sprintf("vm %q does not know its last checkpoint: %v", new, err))
		}
	}
	return nil
}

// unused refuses a name that a VM has, or checkpoints have of one that was destroyed.
func (m *Manager) unused(name string) error {
	ids, err := m.Home.CheckpointIDs(name)
	if errors.Is(err, errs.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if err := m.free(name); err != nil || len(ids) == 0 {
		return err
	}
	return errs.New(errs.ErrExists, "checkpoints of a vm %q that was destroyed are there", name).
		Hint("choose another name, or 'noid forget --all " + name + "' first")
}
