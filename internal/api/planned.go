package api

import (
	"noid/internal/vm"
)

// Planned is what becomes of a checkpoint when a VM is pruned.
type Planned struct {
	ID        string   `json:"id"`
	CreatedAt string   `json:"created_at"`
	Label     string   `json:"label,omitempty"`
	Keep      bool     `json:"keep"`
	Because   []string `json:"because,omitempty"`   // the rules that keep it
	OwnBytes  *int64   `json:"own_bytes,omitempty"` // where they were asked for
}

// PlannedOf is p.
func PlannedOf(p vm.Planned) Planned {
	j := Planned{ID: p.ID, CreatedAt: Time(p.CreatedAt), Label: p.Label, Keep: p.Keep(), Because: p.Because}
	if p.Size != nil {
		own := p.Size.Own()
		j.OwnBytes = &own
	}
	return j
}
