package api

import (
	"noid/internal/vm"
)

// Occupied is what files take of the disk.
type Occupied struct {
	OwnBytes    int64 `json:"own_bytes"`
	SharedBytes int64 `json:"shared_bytes"`
}

// VMUsage is what a VM and its checkpoints take of the disk.
type VMUsage struct {
	Name string `json:"name"`
	Occupied
	Checkpoints   int      `json:"checkpoints"`
	OfCheckpoints Occupied `json:"of_checkpoints"`
	TotalBytes    int64    `json:"total_bytes"`
}

// Usage is what a home takes of the disk.
type Usage struct {
	VMs        []VMUsage `json:"vms"`
	Images     *Occupied `json:"images,omitempty"`
	Kernels    *Occupied `json:"kernels,omitempty"`
	Templates  *Occupied `json:"templates,omitempty"`
	Other      *Occupied `json:"other,omitempty"`
	TotalBytes int64     `json:"total_bytes"`
}

// OccupiedOf is o; nil if that is.
func OccupiedOf(o *vm.Occupied) *Occupied {
	if o == nil {
		return nil
	}
	return &Occupied{o.Own(), o.Shared()}
}

// UsageOf is u.
func UsageOf(u vm.Usage) Usage {
	j := Usage{VMs: []VMUsage{}, Images: OccupiedOf(u.Images), Kernels: OccupiedOf(u.Kernels), Templates: OccupiedOf(u.Templates), Other: OccupiedOf(u.Other),
		TotalBytes: u.Total.Total()}
	for _, v := range u.VMs {
		j.VMs = append(j.VMs, VMUsage{v.Name, *OccupiedOf(&v.VM), v.Checkpoints, *OccupiedOf(&v.OfCheckpoints), v.Total.Total()})
	}
	return j
}
