package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/storage"
)

// What made a checkpoint by itself.
const (
	ByAuto    = checkpoint.ByAuto
	ByTry     = checkpoint.ByTry
	ByRestore = checkpoint.ByRestore
	ByKeep    = checkpoint.ByKeep
	ByUndo    = checkpoint.ByUndo
	ByRedo    = checkpoint.ByRedo
	ByExplore = checkpoint.ByExplore
)

// History is what a VM has been through.
type History struct {
	Entries []LogEntry // the newest first
	// Now is the id of the checkpoint that the VM came from last, or was kept as; "" where there is none.
	Now string
	// Exists: there is a VM, and not its checkpoints alone.
	Exists bool
}

// LogEntry is a checkpoint in a History.
type LogEntry struct {
	CheckpointEntry
	Pinned bool
	Clones []string // the VMs that came from it
}

// Log returns the history of a VM, which may be gone: the newest checkpoints, or with 0 all. Of each it has VM, ID,
// label, parent, cause and time of creation, and with size what it takes of the disk.
func (m *Manager) Log(ctx context.Context, name string, newest int, size bool) (History, error) {
	if err := CheckName(name); err != nil { // an empty one is not all
		return History{}, err
	}
	list := m.Home.CheckpointLabels
	if newest > 0 {
		list = func(ctx context.Context, name string) ([]home.CheckpointEntry, error) {
			return m.Home.NewestCheckpoints(ctx, name, newest)
		}
	}
	entries, err := m.entries(ctx, name, list, size)
	if entries == nil && err != nil {
		return History{}, err
	}
	h := History{Entries: make([]LogEntry, len(entries))}
	clones, now := m.origins(name)
	before := checkpoint.LoadBefore(m.Home.CheckpointsDir(name))
	for i, e := range entries {
		if id, err := m.idOf(name, e.Parent); err == nil && before[id] != "" {
			entries[i].Parent = m.nearest(before, name, e.Parent)
		}
	}
	h.Now, h.Exists = now.id, now.exists
	storage.Each(len(entries), func(i int) {
		e := entries[len(entries)-1-i]
		e.Cause = cause(e.Checkpoint)
		h.Entries[i] = LogEntry{CheckpointEntry: e, Clones: clones[e.ID], Pinned: m.pinned(name, e.ID)}
	})
	return h, err
}

// present is which checkpoint of itself a VM came from.
type present struct {
	id     string
	exists bool
}

// origins returns which VMs came from which checkpoint of name, by id, and where name itself is.
func (m *Manager) origins(name string) (clones map[string][]string, now present) {
	clones = map[string][]string{}
	names, _ := m.Home.VMNames()
	for _, other := range names {
		v, err := m.Home.LoadVM(other)
		if errors.Is(err, errs.ErrNotFound) {
			continue
		}
		if other == name {
			now = present{m.now(name, v), true}
			continue
		}
		if of, id, err := ParseRef(v.RestoredFrom); err == nil && of == name {
			clones[id] = append(clones[id], other)
		}
	}
	for _, list := range clones {
		slices.Sort(list)
	}
	return clones, now
}

// now is the id of the checkpoint of name itself that its VM v came from last, or was kept as, without those that were
// forgotten; "" where there is none.
func (m *Manager) now(name string, v home.VM) string {
	id, _ := m.idOf(name, m.before(name, lastOf(m.Home.VMDir(name), v)))
	return id
}

// pinFile marks, in its directory, a checkpoint that is pinned.
const pinFile = "pinned"

func (m *Manager) pinned(name, id string) bool {
	return exists(filepath.Join(m.Home.CheckpointDir(name, id), pinFile))
}

// Pin has the checkpoint ref of name stay when checkpoints are pruned, or with on false no longer so. It returns its
// id. Who forgets it by name forgets it all the same.
func (m *Manager) Pin(ctx context.Context, name, ref string, on bool) (id string, err error) {
	verb := "pin"
	if !on {
		verb = "unpin"
	}
	m.beginChange(ctx, verb)
	lock, err := m.Home.Lock(ctx, name, verb)
	if err != nil {
		return "", err
	}
	defer lock.Unlock()
	c, err := m.Home.FindCheckpoint(ctx, name, ref)
	if err != nil {
		return "", err
	}
	dir := m.Home.CheckpointDir(name, c.ID)
	if on {
		err = os.WriteFile(filepath.Join(dir, pinFile), nil, 0o400)
	} else {
		err = os.Remove(filepath.Join(dir, pinFile))
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) && m.pinned(name, c.ID) == on { // it is so already
		err = nil
	}
	if err == nil {
		err = storage.SyncDir(dir)
	}
	return c.ID, err
}

// cause is what led to c, also to one of a noid that did not note it.
func cause(c checkpoint.Record) checkpoint.Cause {
	if c.Cause.By == "" && c.Automatic() {
		return checkpoint.Cause{By: checkpoint.ByRestore, What: c.Label[len(checkpoint.BackupLabel):]}
	}
	return c.Cause
}
