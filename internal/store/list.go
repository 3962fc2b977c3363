package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// VMEntry is a VM in a listing. When Err is set, a *BrokenError, the record holds the name alone.
type VMEntry struct {
	VM
	Err error
}

// CheckpointEntry is a checkpoint in a listing. When Err is set, a *BrokenError, the record holds VM and ID alone.
type CheckpointEntry struct {
	Checkpoint
	Err error
}

// ListVMs returns all VMs, the broken ones too, sorted by time of creation, then name. It does not need the index to
// be right, writable or there.
func (h *Home) ListVMs(ctx context.Context) ([]VMEntry, error) {
	names, err := subdirs(h.VMsDir())
	if err != nil {
		return nil, fmt.Errorf("listing vms: %w", err)
	}
	keys := make([]key, 0, len(names))
	for _, name := range names {
		if CheckName(name) == nil { // not a staging directory, nor a stray such as lost+found
			keys = append(keys, key{vm: name})
		}
	}
	s := source[VM]{
		base:  vmManifest,
		dir:   func(k key) string { return h.VMDir(k.vm) },
		parse: func(k key, data []byte) (VM, error) { return parseVM(data, k.vm) },
		where: `id = ''`,
	}
	var list []VMEntry
	err = eachManifest(ctx, h, s, keys, func(k key, v VM, err error) {
		if err != nil {
			v = VM{Name: k.vm}
		}
		list = append(list, VMEntry{v, err})
	})
	slices.SortFunc(list, func(a, b VMEntry) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.Name, b.Name))
	})
	return list, err
}

// ListCheckpoints returns all checkpoints of vm, the broken ones too, sorted by time of creation, then id. The VM need
// not exist any more; when there is neither, that is errs.ErrNotFound.
func (h *Home) ListCheckpoints(ctx context.Context, vm string) ([]CheckpointEntry, error) {
	if err := CheckName(vm); err != nil {
		return nil, err
	}
	names, err := subdirs(h.CheckpointsDir(vm))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(h.VMDir(vm)); errors.Is(err, fs.ErrNotExist) {
			return nil, noVM(vm)
		}
	} else if err != nil {
		return nil, fmt.Errorf("listing the checkpoints of vm %q: %w", vm, err)
	}
	keys := make([]key, 0, len(names))
	for _, id := range names {
		if checkID(id) {
			keys = append(keys, key{vm, id})
		}
	}
	s := source[Checkpoint]{
		base:  checkpointManifest,
		dir:   func(k key) string { return h.CheckpointDir(k.vm, k.id) },
		parse: func(k key, data []byte) (Checkpoint, error) { return parseCheckpoint(data, k.vm, k.id) },
		where: `vm = ? AND id <> ''`, args: []any{vm},
	}
	var list []CheckpointEntry
	err = eachManifest(ctx, h, s, keys, func(k key, c Checkpoint, err error) {
		if err != nil {
			c = Checkpoint{VM: k.vm, ID: k.id}
		}
		list = append(list, CheckpointEntry{c, err})
	})
	slices.SortFunc(list, func(a, b CheckpointEntry) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return list, err
}

// CheckpointOwners returns the names of the VMs, destroyed ones too, that may have checkpoints, sorted.
func (h *Home) CheckpointOwners() ([]string, error) {
	owners, err := subdirs(filepath.Join(h.dir, storageDir, checkpointsDir))
	if err != nil {
		return nil, fmt.Errorf("listing checkpoints: %w", err)
	}
	owners = slices.DeleteFunc(owners, func(name string) bool { return CheckName(name) != nil })
	slices.Sort(owners)
	return owners, nil
}

// subdirs returns the names in dir, unsorted.
func subdirs(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// source says where one kind of manifest lies and which rows of the index are about it.
type source[T any] struct {
	base  string
	dir   func(key) string
	parse func(key, []byte) (T, error)
	where string
	args  []any
}

// settled is the age from which a manifest's time of change is trusted to tell it from a later one: the clock of a file
// system ticks every few milliseconds, and two saves within a tick could look the same.
const settled = 100 * time.Millisecond

// eachManifest reads the manifests of keys, from the index where that has them as they are, and tells each of them. It leaves the
// index right. The error is ctx's alone: everything else is told of the manifest that it concerns.
func eachManifest[T any](ctx context.Context, h *Home, s source[T], keys []key, tell func(key, T, error)) error {
	var known map[key]row
	err := h.withIndex(ctx, func(db *sql.DB) (err error) {
		known, err = readIndex(ctx, db, s.where, s.args...)
		return err
	})
	if err != nil {
		known = nil // read-only, full, locked, of a newer noid: the manifests are enough
	}
	useIndex := err == nil
	changed := map[key]row{}
	for _, k := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		old, have := known[k]
		delete(known, k) // what is left at the end is gone
		if have {
			if info, err := os.Lstat(filepath.Join(s.dir(k), s.base)); err == nil && info.Mode().IsRegular() && stampOf(info) == old.stamp {
				if record, err := s.parse(k, old.json); err == nil {
					tell(k, record, nil)
					continue
				}
			}
		}
		data, st, err := readManifest(s.dir(k), s.base)
		var record T
		if err == nil {
			record, err = s.parse(k, data)
		}
		err = broken(err, s.dir(k), s.base)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since its name was read
		}
		tell(k, record, err)
		if err == nil && time.Since(time.Unix(0, st.mtimeNs)) > settled {
			changed[k] = row{st, data}
		}
	}
	if !useIndex {
		return ctx.Err()
	}
	gone := make([]key, 0, len(known))
	for k := range known {
		gone = append(gone, k)
	}
	// A failure costs the next listing some time, nothing else.
	_ = h.withIndex(ctx, func(db *sql.DB) error { return writeIndex(ctx, db, changed, gone) })
	return ctx.Err()
}

// Repair throws the index away, builds it again from the manifests and reports what it found, for people to read.
func (h *Home) Repair(ctx context.Context) (report string, err error) {
	h.mu.Lock()
	h.closeIndex()
	err = h.replaceIndex(ctx, true)
	h.mu.Unlock()
	if err != nil {
		return "", err
	}
	var problems []string
	vms, err := h.ListVMs(ctx)
	if err != nil {
		return "", err
	}
	for _, v := range vms {
		if v.Err != nil {
			problems = append(problems, fmt.Sprintf("vm %q: %v", v.Name, v.Err))
		}
	}
	owners, err := h.CheckpointOwners()
	if err != nil {
		return "", err
	}
	checkpoints := 0
	for _, vm := range owners {
		list, err := h.ListCheckpoints(ctx, vm)
		if err != nil {
			return "", err
		}
		checkpoints += len(list)
		for _, c := range list {
			if c.Err != nil {
				problems = append(problems, fmt.Sprintf("checkpoint %q of vm %q: %v", c.ID, vm, c.Err))
			}
		}
	}
	report = fmt.Sprintf("%d vms, %d checkpoints, %d of them broken", len(vms), checkpoints, len(problems))
	return strings.Join(append([]string{report}, problems...), "\n"), nil
}

// globEscape makes path match itself alone in filepath.Glob.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
