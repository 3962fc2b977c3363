package vm

import (
	"context"
	"maps"
	"strings"

	"noid/internal/checkpoint"
)

// noteForgotten notes what came before the checkpoints gone of name, which are about to be forgotten, where one that
// stays, or the VM itself, came from them. Failing, as on a full disk, is no failure: then undo and bisect end there.
func (m *Manager) noteForgotten(name string, gone []string) {
	list, err := m.Home.CheckpointLabels(context.Background(), name)
	if err != nil {
		return
	}
	parents, stays := map[string]string{}, map[string]bool{}
	for _, c := range list {
		stays[c.ID] = true
		if parent, err := m.idOf(name, c.Parent); err == nil {
			parents[c.ID] = parent
		}
	}
	for _, id := range gone {
		delete(stays, id)
	}
	dir := m.Home.CheckpointsDir(name)
	known := checkpoint.LoadBefore(dir)
	all := maps.Clone(known)
	for _, id := range gone {
		if parents[id] != "" {
			all[id] = parents[id]
		}
	}
	needed := checkpoint.Before{}
	need := func(id string) {
		if id != "" && !stays[id] {
			if before := all.Nearest(id, func(id string) bool { return stays[id] }); before != "" {
				needed[id] = before
			}
		}
	}
	for id := range stays {
		need(parents[id])
	}
	if v, err := m.Home.LoadVM(name); err == nil {
		if id, err := m.idOf(name, lastOf(m.Home.VMDir(name), v)); err == nil {
			need(id)
		}
	}
	if !maps.Equal(needed, known) {
		needed.Save(dir)
	}
}

// before is ref, or where that is a checkpoint of name which was forgotten, the nearest one before it that was not.
func (m *Manager) before(name, ref string) string {
	id, err := m.idOf(name, ref)
	if err != nil || exists(m.Home.CheckpointDir(name, id)) {
		return ref
	}
	return m.nearest(checkpoint.LoadBefore(m.Home.CheckpointsDir(name)), name, ref)
}

// nearest is before, by what known says, for a ref of name.
func (m *Manager) nearest(known checkpoint.Before, name, ref string) string {
	id := strings.TrimPrefix(ref, name+"@")
	id = known.Nearest(id, func(id string) bool { return exists(m.Home.CheckpointDir(name, id)) })
	if id == "" {
		return ref
	}
	return name + "@" + id
}
