package vm

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"

	"noid/internal/checkpoint"
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
	if err := m.removeCheckpoints(name, ids...); err != nil {
		return err
	}
	m.pruneKernels(ctx)
	return nil
}

// removeCheckpoints takes checkpoints out of the listing, each by one rename, gives back what they alone had in the
// pack and then deletes them. VMMs that map their memory keep the inode. Those that are not there are left out.
func (m *Manager) removeCheckpoints(name string, ids ...string) error {
	if len(ids) > 0 {
		m.noteForgotten(name, ids)
	}
	var problems []error
	removed := map[string]string{} // by id, where it is until then
	for _, id := range ids {
		old := m.Home.OldDir(name)
		err := os.Rename(m.Home.CheckpointDir(name, id), old)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			problems = append(problems, err)
			break
		}
		removed[id] = old
	}
	if len(removed) == 0 {
		return errors.Join(problems...)
	}
	// In this order, and not without the first: Sweep does the rest for as long as a directory is there.
	if err := storage.SyncDir(m.Home.CheckpointsDir(name)); err != nil {
		return errors.Join(append(problems, err)...)
	}
	err := checkpoint.Reclaim(m.Home.CheckpointsDir(name), removed)
	for _, old := range removed {
		problems = append(problems, storage.RemoveAll(old))
	}
	if err != nil {
		m.warn(err.Error())
		os.Mkdir(m.Home.OldDir(name), 0o700) // for Sweep, which tries again
	}
	return errors.Join(problems...)
}
