package home

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/manifest"
	"noid/internal/proc"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// VM is what noid records of a VM, as vm.json. Whether it runs is not in it: the process and the VMM are asked.
type VM struct {
	Format        int          `json:"format"` // set by SaveVM
	Name          string       `json:"name"`
	CreatedAt     time.Time    `json:"created_at"` // UTC
	Machine       vmm.Machine  `json:"machine"`
	Process       proc.Process `json:"process"`                  // the latest VMM; it may be gone
	StopRequested bool         `json:"stop_requested,omitempty"` // noid stopped it: it is not dead but stopped
	SourceKernel  string       `json:"source_kernel,omitempty"`  // the path that the user gave
	SourceRootfs  string       `json:"source_rootfs,omitempty"`  // the path that the user gave
	SourceBase    string       `json:"source_base,omitempty"`    // the image's file that the disk was made of; then there is no SourceRootfs
	// Image is what it was made from, nil for a VM of a root file system. Its Refs are those of that time.
	Image *image.Image `json:"image,omitempty"`
	// Base is the base of a machine that has one.
	Base         *manifest.File `json:"base,omitempty"`
	RestoredFrom string         `json:"restored_from,omitempty"` // "vm@id", empty for a VM that booted
	ForkedFrom   string         `json:"forked_from,omitempty"`   // the VM of which it is a copy, empty for others
	// Auto is when a checkpoint is made by itself: "exec" before each command, or a duration. Empty: never.
	Auto string `json:"auto,omitempty"`
	// Note is what the front end that has made the VM keeps with it. Empty: none does.
	Note json.RawMessage `json:"note,omitempty"`
	// Before is the id of the checkpoint of what was there before the restore in place that made this VM, Redo those of
	// what undos have left, the newest last.
	Before string   `json:"before,omitempty"`
	Redo   []string `json:"redo,omitempty"`
	// WarmFrom is when the guest was kept after its boot, from which this VM was restored when it was made. Nil for one
	// that booted itself.
	WarmFrom  *time.Time `json:"warm_from,omitempty"`
	LastError string     `json:"last_error,omitempty"` // not sanitised: it may quote the guest
	// Unannounced is what the guest's agent must be told before the next command runs; nil when the guest knows all.
	Unannounced *Announcement `json:"unannounced,omitempty"`
	// AgentFrozen: the agent was told of the pause that the VM is in.
	AgentFrozen bool `json:"frozen,omitempty"`
	// Boots are the kernel and the initrd as they were when the VM was made, by path.
	Boots        map[string]manifest.File `json:"boots,omitempty"`
	AgentVersion string                   `json:"agent_version,omitempty"` // the noid whose agent is in the initrd
}

// Announcement tells a guest that it was loaded from a checkpoint, or made.
type Announcement struct {
	Event    string `json:"event"`              // "create", "restore", or "clone" under another name
	Identity bool   `json:"identity,omitempty"` // the guest gets a hostname and a machine-id of its own
	Template string `json:"template,omitempty"` // the template to be made of it first
}

// SaveVM writes vm.json in dir, atomically and durably. dir is VMDir or a staging directory; hold the VM's lock.
func (h *Home) SaveVM(dir string, v VM) error {
	v.Format, v.CreatedAt = manifest.Format, v.CreatedAt.UTC()
	data, err := manifest.Encode(v)
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Join(dir, vmManifest), err)
	}
	return storage.WriteFile(filepath.Join(dir, vmManifest), data, 0o600)
}

// RemoveTemp removes what a killed SaveVM has left in dir; hold the VM's lock.
func (h *Home) RemoveTemp(dir string) { storage.RemoveTemp(filepath.Join(dir, vmManifest)) }

// LoadVM reads the record of the VM name. None is errs.ErrNotFound, a damaged one a *manifest.BrokenError.
func (h *Home) LoadVM(name string) (VM, error) {
	if err := CheckName(name); err != nil {
		return VM{}, err
	}
	v, _, err := readVM(h.VMDir(name), name)
	if errors.Is(err, fs.ErrNotExist) {
		err = noVM(name)
		if ids, _ := named(h.CheckpointsDir(name), checkID); len(ids) > 0 {
			err = errs.WithHint(err, "its checkpoints are there: 'noid restore "+name+" ID' brings it back, 'noid checkpoints "+name+"' lists them")
		}
	}
	return v, err
}

// LoadCheckpoint reads the record of checkpoint id of vm; id is a full id. See FindCheckpoint for what users write.
func (h *Home) LoadCheckpoint(vm, id string) (checkpoint.Record, error) {
	if err := CheckName(vm); err != nil {
		return checkpoint.Record{}, err
	}
	if !checkID(id) {
		return checkpoint.Record{}, noCheckpoint(vm, id)
	}
	c, _, err := checkpoint.Read(h.CheckpointDir(vm, id), vm, id)
	if errors.Is(err, fs.ErrNotExist) {
		return checkpoint.Record{}, noCheckpoint(vm, id)
	}
	return c, err
}

func noVM(name string) error {
	return errs.New(errs.ErrNotFound, "no vm %q", name).Hint("'noid list' shows what there is")
}

func noCheckpoint(vm, ref string) error {
	return errs.New(errs.ErrNotFound, "no checkpoint %.80q of vm %q", ref, vm).Hint("'noid checkpoints " + vm + "' lists them")
}

// readVM reads dir/vm.json and returns also its stamp. The error is a *manifest.BrokenError or, when dir itself is not
// there, fs.ErrNotExist.
func readVM(dir, name string) (v VM, st manifest.Stamp, err error) {
	data, st, err := manifest.Read(filepath.Join(dir, vmManifest))
	if err == nil {
		v, err = parseVM(data, name)
	}
	return v, st, manifest.Broken(err, dir, vmManifest)
}

func parseVM(data []byte, name string) (VM, error) {
	var v VM
	if err := json.Unmarshal(data, &v); err != nil {
		return VM{}, err
	}
	if err := manifest.CheckFormat(v.Format, manifest.Format); err != nil {
		return VM{}, err
	}
	if err := CheckName(v.Name); err != nil {
		return VM{}, err
	}
	v.RestoredFrom = checkpoint.Renamed(v.RestoredFrom, v.Name, name)
	v.Name = name // its directory's: the VM may have been renamed
	return v, nil
}
