package vm

import (
	"cmp"
	"context"
	"errors"
	"io/fs"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/pack"
	"noid/internal/storage"
)

// Checkpoint is the record of a checkpoint.
type Checkpoint = checkpoint.Record

// Occupied is what files take of the disk.
type Occupied = storage.Occupied

// CheckpointEntry is a checkpoint in a listing. When Err is set, its record is damaged and holds VM and ID alone.
type CheckpointEntry struct {
	Checkpoint
	Err  error
	Size *Occupied // what its files take of the disk; nil when that was not asked for
}

// Checkpoints lists the checkpoints of a VM, which may be gone, the oldest first, or with "" for name those of all VMs:
// with VM, ID, label and time of creation; with full also all else of their records; with size also what they take of
// the disk.
func (m *Manager) Checkpoints(ctx context.Context, name string, full, size bool) ([]CheckpointEntry, error) {
	list := m.Home.CheckpointLabels
	if full {
		list = m.Home.ListCheckpoints
	}
	return m.entries(ctx, name, list, size)
}

// entries is list of the VM name, or with "" of all, with sizes if size is set.
func (m *Manager) entries(ctx context.Context, name string, list func(context.Context, string) ([]home.CheckpointEntry, error), size bool) ([]CheckpointEntry, error) {
	entries, err := m.ofOwners(ctx, name, list)
	if err != nil {
		return nil, err
	}
	out := make([]CheckpointEntry, len(entries))
	for i, e := range entries {
		out[i] = CheckpointEntry{Checkpoint: e.Record, Err: e.Err}
	}
	if size {
		return m.withSizes(ctx, out)
	}
	return out, nil
}

// ofOwners is list of the VM name, or with "" of all that have checkpoints.
func (m *Manager) ofOwners(ctx context.Context, name string, list func(context.Context, string) ([]home.CheckpointEntry, error)) ([]home.CheckpointEntry, error) {
	if name != "" {
		return list(ctx, name)
	}
	owners, err := m.Home.CheckpointOwners()
	if err != nil {
		return nil, err
	}
	var all []home.CheckpointEntry
	for _, owner := range owners {
		entries, err := list(ctx, owner)
		if err != nil && !errors.Is(err, errs.ErrNotFound) { // forgotten since
			return nil, err
		}
		all = append(all, entries...)
	}
	return all, nil
}

// withSizes fills in Size. What was forgotten meanwhile is left out.
func (m *Manager) withSizes(ctx context.Context, list []CheckpointEntry) ([]CheckpointEntry, error) {
	problems := make([]error, len(list))
	packs := m.countPacks(list)
	storage.Each(len(list), func(i int) {
		dir := m.Home.CheckpointDir(list[i].VM, list[i].ID)
		o, err := storage.Occupy(ctx, dir, nil)
		tables, tablesErr := checkpoint.Tables(dir)
		for _, t := range tables {
			own := packs[list[i].VM].Own(t)
			o.AddPart(own, t.Bytes()-own)
		}
		err = cmp.Or(err, tablesErr)
		list[i].Size = &o
		if list[i].Err == nil {
			problems[i] = err
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var sized []CheckpointEntry
	for i, e := range list {
		if errors.Is(problems[i], fs.ErrNotExist) {
			problems[i] = nil
		} else {
			sized = append(sized, e)
		}
	}
	return sized, errs.Join(problems...)
}

// countPacks counts who needs which blocks of the packs that the checkpoints of list have. A table that cannot be read
// needs none.
func (m *Manager) countPacks(list []CheckpointEntry) map[string]*pack.Counts {
	counts := map[string]*pack.Counts{}
	for _, e := range list {
		if counts[e.VM] != nil {
			continue
		}
		counts[e.VM] = &pack.Counts{}
		ids, _ := m.Home.CheckpointIDs(e.VM)
		for _, id := range ids {
			tables, _ := checkpoint.Tables(m.Home.CheckpointDir(e.VM, id))
			for _, t := range tables {
				counts[e.VM].Add(t)
			}
		}
	}
	return counts
}
