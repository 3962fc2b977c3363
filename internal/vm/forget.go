package vm

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/storage"
)

// Forget deletes checkpoints of name, also of a VM that was destroyed. All refs are looked up before the first is
// deleted. Errors are in the order of refs.
func (m *Manager) Forget(ctx context.Context, name string, refs []string) error {
	return m.forget(ctx, name, func() ([]string, error) {
		ids, problems := make([]string, len(refs)), make([]error, len(refs))
		for i, ref := range refs {
			c, err := m.Home.FindCheckpoint(ctx, name, ref)
			if _, broken := errors.AsType[*manifest.BrokenError](err); broken {
				err = nil
			}
			ids[i], problems[i] = cmp.Or(c.ID, ref), err
		}
		return ids, errs.Join(problems...)
	})
}

// ForgetAll is Forget for all checkpoints of name.
func (m *Manager) ForgetAll(ctx context.Context, name string) error {
	return m.forget(ctx, name, func() ([]string, error) { return m.Home.CheckpointIDs(name) })
}

// forget deletes the checkpoints of name that find returns. The lock is held meanwhile.
func (m *Manager) forget(ctx context.Context, name string, find func() (ids []string, err error)) error {
	m.beginChange(ctx, "forget")
	lock, err := m.Home.Lock(ctx, name, "forget")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := m.CheckKnown(name); err != nil {
		return err
	}
	ids, err := find()
	if err != nil {
		return err
	}
	if err := m.removeCheckpoint(name, ids...); err != nil {
		return err
	}
	m.pruneKernels(ctx)
	return nil
}

// removedAtOnce is how many checkpoints are taken out of a listing before they are deleted.
const removedAtOnce = 100

// removeCheckpoint takes checkpoints out of the listing, each by one rename, and then deletes them. One that is not there
// is no error. VMMs that map the memory keep the inode.
func (m *Manager) removeCheckpoint(name string, ids ...string) error {
	for some := range slices.Chunk(ids, removedAtOnce) {
		var gone []string
		var err error
		for _, id := range some {
			old := m.Home.OldDir(name)
			if err = os.Rename(m.Home.CheckpointDir(name, id), old); err == nil {
				gone = append(gone, old)
			} else if !errors.Is(err, fs.ErrNotExist) {
				break
			}
			err = nil
		}
		if len(gone) > 0 {
			err = errors.Join(err, storage.SyncDir(m.Home.CheckpointsDir(name)))
		}
		os.Remove(m.Home.CheckpointsDir(name)) // when these were the last
		for _, old := range gone {
			err = errors.Join(err, storage.RemoveAll(old))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
