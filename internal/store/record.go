package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/proc"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// manifestFormat is the version of vm.json and checkpoint.json.
const manifestFormat = 1

// maxManifest bounds what is read of a manifest. A VMM that its guest took over can write in its VM's directory.
const maxManifest = 1 << 20

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
	RestoredFrom  string       `json:"restored_from,omitempty"`  // "vm@id", empty for a VM that booted
	ForkedFrom    string       `json:"forked_from,omitempty"`    // the VM of which it is a copy, empty for others
	// WarmFrom is when the guest was kept after its boot, from which this VM was restored when it was made. Nil for one that
	// booted itself.
	WarmFrom  *time.Time `json:"warm_from,omitempty"`
	LastError string     `json:"last_error,omitempty"` // not sanitised: it may quote the guest
	// Unannounced is what the guest's agent must be told before the next command runs; nil when the guest knows all.
	Unannounced *Announcement `json:"unannounced,omitempty"`
	// Frozen: the agent was told of the pause that the VM is in.
	Frozen bool `json:"frozen,omitempty"`
	// Boots are the kernel and the initrd as they were when the VM was made, by path.
	Boots        map[string]File `json:"boots,omitempty"`
	AgentVersion string          `json:"agent_version,omitempty"` // the noid whose agent is in the initrd
}

// Announcement tells a guest that it was loaded from a checkpoint, or made.
type Announcement struct {
	Event    string `json:"event"`              // "create", "restore", or "clone" under another name
	Identity bool   `json:"identity,omitempty"` // the guest gets a hostname and a machine-id of its own
	Template string `json:"template,omitempty"` // the template to be made of it first
}

// Checkpoint is what noid records of a checkpoint, as checkpoint.json. The sizes are bytes of disk that the files took
// when it was published, blocks shared by reflink included.
type Checkpoint struct {
	Format       int         `json:"format"` // set by SaveCheckpoint
	ID           string      `json:"id"`     // 8 lower-case hex digits
	VM           string      `json:"vm"`
	Label        string      `json:"label,omitempty"`
	CreatedAt    time.Time   `json:"created_at"`       // UTC
	Parent       string      `json:"parent,omitempty"` // "vm@id" of the checkpoint that the VM had come from or had last made
	Machine      vmm.Machine `json:"machine"`
	Memory       bool        `json:"memory"`                // false: the disk alone, to be booted
	AgentReady   bool        `json:"agent_ready,omitempty"` // the guest's agent answered right before: it will after a restore
	NoidVersion  string      `json:"noid_version,omitempty"`
	DowntimeMs   float64     `json:"downtime_ms"` // how long the guest stood still
	DiskBytes    int64       `json:"disk_bytes"`
	MemoryBytes  int64       `json:"memory_bytes"`
	StateBytes   int64       `json:"state_bytes"`
	DiskLength   int64       `json:"disk_length"`   // bytes, holes included: a file of another length is not the one recorded
	MemoryLength int64       `json:"memory_length"` // likewise
	StateLength  int64       `json:"state_length"`  // likewise
	SourceKernel string      `json:"source_kernel,omitempty"`
	SourceRootfs string      `json:"source_rootfs,omitempty"`
	// Files are the checkpoint's files as they were when it was published, by name. Nil in one of a noid that did not hash.
	Files map[string]File `json:"files,omitempty"`
	// Boots are the kernel and the initrd of the VM, by path, and AgentVersion is the noid whose agent it has.
	Boots        map[string]File `json:"boots,omitempty"`
	AgentVersion string          `json:"agent_version,omitempty"`
	Host         *Host           `json:"host,omitempty"` // what the guest saw of it; nil for an emulated guest
	// Checksum is, in the file alone, the sum of its bytes with zeros for this value.
	Checksum string `json:"checksum,omitempty"`
}

// File is a regular file as it was when it was looked at.
type File struct {
	Length  int64       `json:"length"`
	Sum     storage.Sum `json:"xxh3"` // storage.Hash's Root
	Ino     uint64      `json:"ino"`
	MtimeNs int64       `json:"mtime_ns"`
}

// Host is the processor on which a guest ran that used it directly, as /proc/cpuinfo names it.
type Host struct {
	CPUVendor string   `json:"cpu_vendor"`
	CPUModel  string   `json:"cpu_model"`
	CPUFlags  []string `json:"cpu_flags"`
}

// Untouched reports whether info is of the very file, not written to since. Bytes that rot on the disk do not show.
func (f File) Untouched(info fs.FileInfo) bool {
	return info.Mode().IsRegular() && stampOf(info) == stamp{f.Ino, f.Length, f.MtimeNs}
}

// FileOf is the file of info, whose contents are h.
func FileOf(info fs.FileInfo, h storage.Hash) File {
	st := stampOf(info)
	return File{Length: h.Length, Sum: h.Root(), Ino: st.ino, MtimeNs: st.mtimeNs}
}

// BrokenError is a VM or checkpoint whose directory is there but whose manifest cannot be used.
type BrokenError struct {
	Path string // the manifest
	Err  error
}

func (e *BrokenError) Error() string {
	if errors.Is(e.Err, errs.ErrHost) { // a newer noid's is whole
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("damaged %s: %v", e.Path, e.Err)
}

func (e *BrokenError) Unwrap() error { return e.Err }

// SaveVM writes vm.json in dir, atomically and durably. dir is VMDir or a staging directory; hold the VM's lock.
func (h *Home) SaveVM(dir string, v VM) error {
	v.Format, v.CreatedAt = manifestFormat, v.CreatedAt.UTC()
	data, err := encode(v)
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Join(dir, vmManifest), err)
	}
	return storage.WriteFile(filepath.Join(dir, vmManifest), data, 0o600)
}

// RemoveTemp removes what a killed SaveVM has left in dir; hold the VM's lock.
func (h *Home) RemoveTemp(dir string) { storage.RemoveTemp(filepath.Join(dir, vmManifest)) }

// SaveCheckpoint writes checkpoint.json in dir, read-only and atomically. It is on disk once storage.Publish has published dir.
func (h *Home) SaveCheckpoint(dir string, c Checkpoint) error {
	c.Format, c.CreatedAt, c.Checksum = manifestFormat, c.CreatedAt.UTC(), unsummed
	data, err := encode(c)
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Join(dir, checkpointManifest), err)
	}
	data = bytes.Replace(data, checksumOf(unsummed), checksumOf(storage.SumOf(data).String()), 1)
	path := filepath.Join(dir, checkpointManifest)
	if err := os.WriteFile(path+".new", data, 0o400); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// unsummed stands in a manifest where its checksum goes.
var unsummed = storage.Sum{}.String()

func checksumOf(sum string) []byte { return []byte("\"checksum\": \"" + sum + "\"") }

// checkSum holds a manifest's bytes against the checksum in them.
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

func encode(record any) ([]byte, error) {
	data, err := json.MarshalIndent(record, "", "  ")
	if err == nil && len(data) >= maxManifest { // it could not be read back
		err = fmt.Errorf("%d bytes are more than the %d allowed", len(data), maxManifest)
	}
	return append(data, '\n'), err
}

// LoadVM reads the record of the VM name. None is errs.ErrNotFound, a damaged one a *BrokenError.
func (h *Home) LoadVM(name string) (VM, error) {
	if err := CheckName(name); err != nil {
		return VM{}, err
	}
	v, _, err := readVM(h.VMDir(name), name)
	if errors.Is(err, fs.ErrNotExist) {
		return VM{}, noVM(name)
	}
	return v, err
}

// LoadCheckpoint reads the record of checkpoint id of vm; id is a full id. See FindCheckpoint for what users write.
func (h *Home) LoadCheckpoint(vm, id string) (Checkpoint, error) {
	if err := CheckName(vm); err != nil {
		return Checkpoint{}, err
	}
	if !checkID(id) {
		return Checkpoint{}, noCheckpoint(vm, id)
	}
	c, _, err := readCheckpoint(h.CheckpointDir(vm, id), vm, id)
	if errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, noCheckpoint(vm, id)
	}
	return c, err
}

func noVM(name string) error {
	return errs.WithHint(errs.Mark(fmt.Errorf("no vm %q", name), errs.ErrNotFound), "`noid list` shows what there is")
}

func noCheckpoint(vm, ref string) error {
	return errs.WithHint(errs.Mark(fmt.Errorf("no checkpoint %q of vm %q", ref, vm), errs.ErrNotFound),
		"`noid checkpoints "+vm+"` lists them")
}

// readVM reads dir/vm.json and returns also its stamp. The error is a *BrokenError or, when dir itself is not
// there, fs.ErrNotExist.
func readVM(dir, name string) (v VM, st stamp, err error) {
	data, st, err := readManifest(dir, vmManifest)
	if err == nil {
		v, err = parseVM(data, name)
	}
	return v, st, broken(err, dir, vmManifest)
}

// readCheckpoint is readVM for a checkpoint.
func readCheckpoint(dir, vm, id string) (c Checkpoint, st stamp, err error) {
	data, st, err := readManifest(dir, checkpointManifest)
	if err == nil {
		c, err = parseCheckpoint(data, vm, id)
	}
	return c, st, broken(err, dir, checkpointManifest)
}

// broken wraps err, met with the manifest in dir. A directory that is not there at all is no damage.
func broken(err error, dir, manifest string) error {
	if err == nil {
		return nil
	}
	if _, statErr := os.Lstat(dir); errors.Is(statErr, fs.ErrNotExist) {
		return statErr
	}
	// The path is in BrokenError already; fs.ErrNotExist must not show through, since the VM does exist.
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("it is missing")
	} else if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return &BrokenError{filepath.Join(dir, manifest), err}
}

func parseVM(data []byte, name string) (VM, error) {
	var v VM
	if err := json.Unmarshal(data, &v); err != nil {
		return VM{}, err
	}
	if err := checkFormat(v.Format); err != nil {
		return VM{}, err
	}
	if v.Name != name {
		return VM{}, fmt.Errorf("it belongs to a vm called %q", v.Name)
	}
	return v, nil
}

func parseCheckpoint(data []byte, vm, id string) (Checkpoint, error) {
	c, err := decodeCheckpoint(data)
	if err == nil && (c.VM != vm || c.ID != id) {
		return Checkpoint{}, fmt.Errorf("it belongs to checkpoint %q of vm %q", c.ID, c.VM)
	}
	return c, err
}

func decodeCheckpoint(data []byte) (Checkpoint, error) {
	var c Checkpoint
	if err := json.Unmarshal(data, &c); err != nil {
		return Checkpoint{}, err
	}
	if err := checkFormat(c.Format); err != nil {
		return Checkpoint{}, err
	}
	if err := checkSum(data, c.Checksum); err != nil {
		return Checkpoint{}, err
	}
	if c.Files != nil && c.Checksum == "" {
		return Checkpoint{}, errors.New("its checksum is missing: it is not as noid wrote it")
	}
	c.Checksum = ""
	return c, nil
}

func checkFormat(format int) error {
	switch {
	case format > manifestFormat:
		return errs.WithHint(errs.Mark(fmt.Errorf("a newer noid wrote it: its format is %d, this noid knows %d", format, manifestFormat), errs.ErrHost),
			"upgrade noid")
	case format < 1:
		return errors.New("it has no format number")
	}
	return nil
}

// stamp tells one version of a file from another without reading it: every save makes a new inode.
type stamp struct {
	ino           uint64
	size, mtimeNs int64
}

// stampNow is the stamp of the regular file path, or none.
func stampNow(path string) stamp {
	var st unix.Stat_t // os.Lstat takes twice as long, which shows with a thousand VMs
	if err := unix.Lstat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return stamp{}
	}
	return stamp{st.Ino, st.Size, st.Mtim.Nano()}
}

func stampOf(info fs.FileInfo) stamp {
	return stamp{info.Sys().(*syscall.Stat_t).Ino, info.Size(), info.ModTime().UnixNano()}
}

func readManifest(dir, base string) ([]byte, stamp, error) {
	data, info, err := readBounded(filepath.Join(dir, base))
	if err != nil {
		return nil, stamp{}, err
	}
	return data, stampOf(info), nil
}

// readBounded reads a small regular file. It follows no link and does not wait for the writer of a FIFO.
func readBounded(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, nil, errors.New("it is a symbolic link")
	} else if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("it is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(data) > maxManifest {
		err = fmt.Errorf("it is longer than %d bytes", maxManifest)
	}
	return data, info, err
}
