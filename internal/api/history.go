package api

import (
	"strings"

	"noid/internal/untrusted"
	"noid/internal/vm"
)

// History is what a VM has been through, the newest first.
type History struct {
	VM      string  `json:"vm"`
	Now     string  `json:"now,omitempty"` // the checkpoint that the VM came from last, or was kept as
	Entries []Entry `json:"checkpoints"`
}

// Entry is a checkpoint in a History.
type Entry struct {
	ID        string   `json:"id"`
	CreatedAt string   `json:"created_at"`
	Label     string   `json:"label,omitempty"`
	Parent    string   `json:"parent,omitempty"` // the id of the checkpoint that it came from; NAME@ID of another VM's
	By        string   `json:"by,omitempty"`     // "auto", "try", "explore", "restore", "keep", "undo" or "redo": noid made it by itself
	Command   string   `json:"command,omitempty"`
	Turn      string   `json:"turn,omitempty"`
	To        string   `json:"to,omitempty"` // by a restore, keep, undo or redo: the checkpoint that the VM went to
	Pinned    bool     `json:"pinned,omitempty"`
	Clones    []string `json:"clones,omitempty"`
	OwnBytes  *int64   `json:"own_bytes,omitempty"`
	Error     string   `json:"error,omitempty"`
}

// HistoryOf is h, of the VM name.
func HistoryOf(name string, h vm.History) History {
	j := History{VM: name, Now: h.Now, Entries: []Entry{}}
	for _, e := range h.Entries {
		c := e.Cause
		line := Entry{ID: e.ID, CreatedAt: Time(e.CreatedAt), Label: e.Label, Parent: ownID(name, e.Parent), By: c.By, Turn: c.Turn, Pinned: e.Pinned, Clones: e.Clones}
		if c.Replaced() {
			line.To = c.What
		} else {
			line.Command = c.What
		}
		if e.Size != nil {
			own := e.Size.Own()
			line.OwnBytes = &own
		}
		if e.Err != nil {
			line.CreatedAt, line.Error = "", untrusted.Text([]byte(e.Err.Error()))
		}
		j.Entries = append(j.Entries, line)
	}
	return j
}

// ownID is ref, a "vm@id", as the id alone if vm is name.
func ownID(name, ref string) string {
	if id, own := strings.CutPrefix(ref, name+"@"); own {
		return id
	}
	return ref
}

// Undone is where an undo, a redo or a keep has put a VM.
type Undone struct {
	VM   string `json:"vm"`
	To   string `json:"to"`             // the checkpoint that the VM is as now
	Kept string `json:"kept,omitempty"` // the checkpoint of what it was before
}

// UndoneOf is u, of the VM name.
func UndoneOf(name string, u vm.Undone) Undone { return Undone{name, u.To.ID, u.Kept} }
