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
	packs := m.ofPacks(list)
	storage.Each(len(list), func(i int) {
		o, err := storage.Occupy(ctx, m.Home.CheckpointDir(list[i].VM, list[i].ID), nil)
		part := packs[list[i].VM][list[i].ID]
		o.AddPart(part.Own, part.Shared)
		list[i].Size = &o
		if list[i].Err == nil {
			problems[i] = cmp.Or(err, part.err)
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

// packPart is what a checkpoint needs of its VM's pack. err is that of a table, which is not counted.
type packPart struct {
	pack.Part
	err error
}

// ofPacks returns, by VM and id, what all checkpoints of the VMs in list need of the packs. Each table is read once.
func (m *Manager) ofPacks(list []CheckpointEntry) map[string]map[string]packPart {
	all := map[string]map[string]packPart{}
	for _, e := range list {
		if all[e.VM] != nil {
			continue
		}
		ids, _ := m.Home.CheckpointIDs(e.VM)
		var owners pack.Owners
		parts := map[string]packPart{}
		for i, id := range ids {
			tables, err := checkpoint.Tables(m.Home.CheckpointDir(e.VM, id))
			for _, t := range tables {
				owners.Add(i, t)
			}
			parts[id] = packPart{err: err}
		}
		for i, id := range ids {
			parts[id] = packPart{owners.Part(i), parts[id].err}
		}
		all[e.VM] = parts
	}
	return all
}
