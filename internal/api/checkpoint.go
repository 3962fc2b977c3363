package api

import (
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// Checkpoint is a checkpoint.
type Checkpoint struct {
	ID            string  `json:"id"`
	VM            string  `json:"vm"`
	Label         string  `json:"label"`
	CreatedAt     string  `json:"created_at"`
	Parent        string  `json:"parent,omitempty"`
	Memory        bool    `json:"memory"`
	Synced        bool    `json:"synced"` // the guest had written back to its disk
	DowntimeMs    float64 `json:"downtime_ms"`
	DiskBytes     int64   `json:"disk_bytes"`
	MemoryBytes   int64   `json:"memory_bytes"`
	StateBytes    int64   `json:"state_bytes"`
	Driver        string  `json:"driver"`
	DriverVersion string  `json:"driver_version"`
	NoidVersion   string  `json:"noid_version"`
	// AgentVersion is the noid whose agent the guest runs, Hardware what the driver pinned, CPUModel the host's, which
	// a guest under KVM has seen.
	AgentVersion string            `json:"agent_version,omitempty"`
	Hardware     map[string]string `json:"hardware,omitempty"`
	CPUModel     string            `json:"cpu_model,omitempty"`
	// OwnBytes and SharedBytes are what its files take of the disk, and what other files have too. Where they
	// were asked for.
	OwnBytes    *int64 `json:"own_bytes,omitempty"`
	SharedBytes *int64 `json:"shared_bytes,omitempty"`
	Error       string `json:"error,omitempty"`
}

// CheckpointOf is e.
func CheckpointOf(e vm.CheckpointEntry) Checkpoint {
	c := e.Checkpoint
	j := Checkpoint{ID: c.ID, VM: c.VM, Label: c.Label, CreatedAt: Time(c.CreatedAt), Parent: c.Parent, Memory: c.Memory, Synced: c.Synced, DowntimeMs: c.DowntimeMs,
		DiskBytes: c.DiskBytes, MemoryBytes: c.MemoryBytes, StateBytes: c.StateBytes, Driver: c.Machine.Driver,
		DriverVersion: c.Machine.DriverVersion, NoidVersion: c.NoidVersion, AgentVersion: c.AgentVersion, Hardware: c.Machine.Hardware}
	if c.Host != nil {
		j.CPUModel = c.Host.CPUModel
	}
	if e.Size != nil {
		own, shared := e.Size.Own(), e.Size.Shared()
		j.OwnBytes, j.SharedBytes = &own, &shared
	}
	if e.Err != nil {
		j.Error = untrusted.Text([]byte(e.Err.Error()))
	}
	return j
}
