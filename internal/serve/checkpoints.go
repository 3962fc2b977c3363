package serve

import (
	"context"
	"net/http"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/vm"
)

// inCheckpoint names a checkpoint in the path.
type inCheckpoint struct {
	inVM
	Checkpoint string `json:"-" path:"checkpoint" min:"1" max:"300" jsonschema:"its id, the beginning of that, or its label"`
}

// CheckpointsRequest is what is asked of checkpoints.
type CheckpointsRequest struct {
	inVM
	Size bool `json:"-" query:"size,omitempty" jsonschema:"with what they take of the disk"`
}

// CheckpointList is the checkpoints of a VM, the oldest first.
type CheckpointList struct {
	VM          string           `json:"vm"`
	Checkpoints []api.Checkpoint `json:"checkpoints"`
}

// CheckpointRequest is a checkpoint to make.
type CheckpointRequest struct {
	inVM
	Label string `json:"label,omitempty" max:"200" jsonschema:"a name for it, one line"`
}

// CheckpointRef is a checkpoint that something was done with.
type CheckpointRef struct {
	VM         string `json:"vm"`
	Checkpoint string `json:"checkpoint"`
}

// RestoreRequest is how a checkpoint is restored.
type RestoreRequest struct {
	inCheckpoint
	As           string   `json:"as,omitempty" pattern:"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$" jsonschema:"make a new VM of this name; without it the VM itself is put back"`
	DiskOnly     bool     `json:"disk_only,omitempty" jsonschema:"boot its disk, and leave its memory"`
	NoBackup     bool     `json:"no_backup,omitempty" jsonschema:"do not keep what is there as a checkpoint first"`
	KeepIdentity bool     `json:"keep_identity,omitempty" jsonschema:"a new VM keeps hostname and machine-id"`
	Ports        []string `json:"ports,omitempty" max:"1000" jsonschema:"of a new VM"`
	Secrets      []string `json:"secrets,omitempty" max:"100" jsonschema:"of a new VM"`
}

// Restored is what a restore has done.
type Restored struct {
	VM   string `json:"vm"`
	Kept string `json:"kept,omitempty" jsonschema:"the checkpoint of what was there before"`
}

func (s *server) addCheckpoints() {
	const tag = "Checkpoints"
	add(s, op{method: "GET", path: "/vms/{vm}/checkpoints", id: "checkpoints", tag: tag, summary: "List the checkpoints of a VM, which may be gone", reads: true}, s.checkpoints)
	add(s, op{method: "POST", path: "/vms/{vm}/checkpoints", id: "checkpoint", tag: tag, summary: "Keep a VM's memory and disk as they are now", status: http.StatusCreated,
		example: `{"label":"before the upgrade"}`},
		func(ctx context.Context, c *call, in CheckpointRequest) (api.Checkpoint, error) {
			made, err := c.m.Checkpoint(ctx, in.VM, in.Label)
			return api.CheckpointOf(vm.CheckpointEntry{Checkpoint: made}), err
		})
	add(s, op{method: "DELETE", path: "/vms/{vm}/checkpoints/{checkpoint}", id: "forget", tag: tag, summary: "Delete a checkpoint"},
		func(ctx context.Context, c *call, in inCheckpoint) (CheckpointRef, error) {
			return CheckpointRef{in.VM, in.Checkpoint}, c.m.Forget(ctx, in.VM, []string{in.Checkpoint})
		})
	for method, id := range map[string]string{"PUT": "pin", "DELETE": "unpin"} {
		summary := "Have a checkpoint stay when checkpoints are pruned"
		if id == "unpin" {
			summary = "Let a checkpoint go when checkpoints are pruned"
		}
		add(s, op{method: method, path: "/vms/{vm}/checkpoints/{checkpoint}/pin", id: id, tag: tag, summary: summary},
			func(ctx context.Context, c *call, in inCheckpoint) (CheckpointRef, error) {
				pinned, err := c.m.Pin(ctx, in.VM, in.Checkpoint, id == "pin")
				return CheckpointRef{in.VM, pinned}, err
			})
	}
	add(s, op{method: "POST", path: "/vms/{vm}/checkpoints/{checkpoint}/restore", id: "restore", tag: tag, long: true,
		summary: "Put a VM back to a checkpoint, memory and all, or make a new VM of one", example: `{"as":"copy"}`}, s.restore)
}

func (s *server) checkpoints(ctx context.Context, c *call, in CheckpointsRequest) (CheckpointList, error) {
	entries, err := c.m.Checkpoints(ctx, in.VM, true, in.Size)
	if err != nil && entries == nil {
		return CheckpointList{}, err
	}
	out := CheckpointList{in.VM, []api.Checkpoint{}}
	for _, e := range entries {
		out.Checkpoints = append(out.Checkpoints, api.CheckpointOf(e))
	}
	return out, nil
}

func (s *server) restore(ctx context.Context, c *call, in RestoreRequest) (out Restored, err error) {
	o := vm.RestoreOptions{As: in.As, DiskOnly: in.DiskOnly, NoBackup: in.NoBackup, KeepIdentity: in.KeepIdentity, Secrets: in.Secrets, Kept: func(id string) { out.Kept = id }}
	if in.As == "" && (len(in.Ports) > 0 || len(in.Secrets) > 0) {
		return out, errs.New(errs.ErrUsage, "ports and secrets are for a new vm").Hint("give it a name: as")
	}
	if o.Ports, err = portGroups(in.Ports); err != nil {
		return out, err
	}
	out.VM = in.VM
	if in.As != "" {
		out.VM = in.As
	}
	return out, c.m.Restore(ctx, in.VM, in.Checkpoint, o)
}
