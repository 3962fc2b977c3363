package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noid/internal/image"
	"noid/internal/manifest"
	"noid/internal/network"
	"noid/internal/storage"
	"noid/internal/vmm"
)

const (
	manifestFile = "checkpoint.json"

	// SumsFile is in a checkpoint's directory: the sums of its files' chunks, one file after the other in the order of
	// their names, 16 bytes each. With them noid can say where a damaged file is damaged.
	SumsFile = "sums"
)

// Record is a checkpoint's checkpoint.json. The sizes are bytes of disk that the files took when it was published,
// blocks shared by reflink included.
type Record struct {
	Format       int          `json:"format"` // set by Write
	ID           string       `json:"id"`     // 8 lower-case hex digits
	VM           string       `json:"vm"`
	Label        string       `json:"label,omitempty"`
	Cause        Cause        `json:"cause,omitzero"`
	Untouched    bool         `json:"untouched,omitempty"` // made before a command, and nobody had asked anything of the guest since it went back to Parent
	CreatedAt    time.Time    `json:"created_at"`          // UTC
	Parent       string       `json:"parent,omitempty"`    // "vm@id" of the checkpoint that the VM had come from or had last made
	Machine      vmm.Machine  `json:"machine"`
	Memory       bool         `json:"memory"`                // false: the disk alone, to be booted
	AgentReady   bool         `json:"agent_ready,omitempty"` // the guest's agent answered right before: it will after a restore
	Synced       bool         `json:"synced,omitempty"`      // the guest had written back to its disk right before
	NoidVersion  string       `json:"noid_version,omitempty"`
	DowntimeMs   float64      `json:"downtime_ms"` // how long the guest stood still
	DiskBytes    int64        `json:"disk_bytes"`
	MemoryBytes  int64        `json:"memory_bytes"`
	StateBytes   int64        `json:"state_bytes"`
	DiskLength   int64        `json:"disk_length"`   // bytes, holes included: a file of another length is not the one recorded
	MemoryLength int64        `json:"memory_length"` // likewise
	StateLength  int64        `json:"state_length"`  // likewise
	SourceKernel string       `json:"source_kernel,omitempty"`
	SourceRootfs string       `json:"source_rootfs,omitempty"`
	SourceBase   string       `json:"source_base,omitempty"`
	Image        *image.Image `json:"image,omitempty"` // what the VM was made from
	// Files are the checkpoint's files as they were when it was published, by name. Nil in one of a noid that did not
	// hash.
	Files map[string]manifest.File `json:"files,omitempty"`
	// Packed says that memory and own disk are in the pack of the VM's checkpoints, and the directory has tables of them.
	// Files has both, the contents without what tells a file.
	Packed bool `json:"packed,omitempty"`
	// Boots are the kernel and the initrd of the VM, by path, and AgentVersion is the noid whose agent it has.
	Boots        map[string]manifest.File `json:"boots,omitempty"`
	AgentVersion string                   `json:"agent_version,omitempty"`
	// Network is what the VM's was, for clones. Nil for one without.
	Network *network.Config `json:"network,omitempty"`
	Host    *Host           `json:"host,omitempty"` // what the guest saw of it; nil for an emulated guest
	// Checksum is, in the file alone, the sum of its bytes with zeros for this value.
	Checksum string `json:"checksum,omitempty"`
}

// Write writes checkpoint.json in dir, read-only and atomically. storage.Publish of dir syncs it.
func Write(dir string, c Record) error {
	c.Format, c.CreatedAt, c.Checksum = manifest.Format, c.CreatedAt.UTC(), unsummed
	if c.Packed {
		c.Format = manifest.PackedFormat
	}
	data, err := manifest.Encode(c)
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Join(dir, manifestFile), err)
	}
	data = bytes.Replace(data, checksumOf(unsummed), checksumOf(storage.SumOf(data).String()), 1)
	path := filepath.Join(dir, manifestFile)
	if err := os.WriteFile(path+".new", data, 0o400); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// unsummed stands in a manifest where its checksum goes.
var unsummed = storage.Sum{}.String()

func checksumOf(sum string) []byte { return []byte("\"checksum\": \"" + sum + "\"") }

// checkSum compares a manifest's bytes with the checksum in them.
func checkSum(data []byte, sum string) error {
	if sum == "" {
		return nil // of a noid that made none
	}
	at := bytes.LastIndex(data, checksumOf(sum)) // the last field
	if at < 0 {
		return errors.New("its checksum is not where noid writes it")
	}
	plain := slices.Concat(data[:at], checksumOf(unsummed), data[at+len(checksumOf(sum)):])
	if storage.SumOf(plain).String() != sum {
		return errors.New("its checksum does not match: it is not as noid wrote it")
	}
	return nil
}

// Read reads the manifest of checkpoint id of vm in dir, and its stamp. The error is a *manifest.BrokenError or, when
// dir is not there, fs.ErrNotExist.
func Read(dir, vm, id string) (c Record, st manifest.Stamp, err error) {
	data, st, err := manifest.Read(ManifestPath(dir))
	if err == nil {
		c, err = Parse(data, vm, id)
	}
	return c, st, manifest.Broken(err, dir, manifestFile)
}

// Parse reads the manifest of checkpoint id of vm, which may have had another name when the checkpoint was made.
func Parse(data []byte, vm, id string) (Record, error) {
	c, err := decode(data)
	if err == nil && c.ID != id {
		return Record{}, fmt.Errorf("it belongs to checkpoint %q of vm %q", c.ID, c.VM)
	}
	c.Parent = Renamed(c.Parent, c.VM, vm)
	c.VM = vm
	return c, err
}

// Renamed is the checkpoint ref, "vm@id", where the VM old is called new by now.
func Renamed(ref, old, new string) string {
	if id, ok := strings.CutPrefix(ref, old+"@"); ok {
		return new + "@" + id
	}
	return ref
}

func decode(data []byte) (Record, error) {
	var c Record
	if err := json.Unmarshal(data, &c); err != nil {
		return Record{}, err
	}
	if err := manifest.CheckFormat(c.Format, manifest.PackedFormat); err != nil {
		return Record{}, err
	}
	if err := checkSum(data, c.Checksum); err != nil {
		return Record{}, err
	}
	if c.Files != nil && c.Checksum == "" {
		return Record{}, errors.New("its checksum is missing: it is not as noid wrote it")
	}
	c.Checksum = ""
	return c, nil
}

// ReadAny reads the manifest of the checkpoint in dir, whosever it is. fs.ErrNotExist when dir is not there.
func ReadAny(dir string) (Record, error) {
	data, _, err := manifest.Read(ManifestPath(dir))
	if err != nil {
		return Record{}, manifest.Broken(err, dir, manifestFile)
	}
	c, err := decode(data)
	return c, manifest.Broken(err, dir, manifestFile)
}

// ManifestPath is the manifest of the checkpoint in dir.
func ManifestPath(dir string) string { return filepath.Join(dir, manifestFile) }
