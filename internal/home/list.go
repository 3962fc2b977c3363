package home

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/manifest"
	"noid/internal/storage"
)

// VMEntry is a VM in a listing, with the fields of Brief. When Err is set, a *manifest.BrokenError, it has the name
// alone.
type VMEntry struct {
	VM
	Err error
}

// CheckpointEntry is a checkpoint in a listing. When Err is set, a *manifest.BrokenError, the record holds VM and ID
// alone.
type CheckpointEntry struct {
	checkpoint.Record
	Err error
}

// ListVMs returns all VMs, the broken ones too, sorted by time of creation, then name. The index may be wrong or
// missing.
func (h *Home) ListVMs(ctx context.Context) ([]VMEntry, error) {
	names, err := h.VMNames()
	if err != nil {
		return nil, err
	}
	list := make([]VMEntry, 0, len(names))
	s := source[VM]{
		ids:  names,
		dir:  h.VMsDir(),
		path: func(name string) string { return name + "/" + vmManifest },
		look: true,
		read: func(name string) (VM, manifest.Stamp, error) {
			v, st, err := readVM(h.VMDir(name), name)
			return v.Brief(), st, err
		},
		pack:   packVM,
		unpack: unpackVM,
	}
	err = eachBrief(ctx, h, s, func(name string, v VM, err error) {
		if err != nil {
			v = VM{Name: name}
		}
		list = append(list, VMEntry{v, err})
	})
	slices.SortFunc(list, func(a, b VMEntry) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.Name, b.Name))
	})
	return list, err
}

// ListCheckpoints returns all checkpoints of vm, the broken ones too, sorted by time of creation, then id. It reads
// every manifest. The VM need not exist any more; errs.ErrNotFound is that there is neither VM nor checkpoint.
func (h *Home) ListCheckpoints(ctx context.Context, vm string) ([]CheckpointEntry, error) {
	ids, err := h.CheckpointIDs(vm)
	if err != nil {
		return nil, err
	}
	list := make([]CheckpointEntry, len(ids))
	storage.Each(len(ids), func(i int) {
		if ctx.Err() == nil {
			c, _, err := checkpoint.Read(h.CheckpointDir(vm, ids[i]), vm, ids[i])
			if err != nil {
				c = checkpoint.Record{VM: vm, ID: ids[i]}
			}
			list[i] = CheckpointEntry{c, err}
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, forgotten)
	sortCheckpoints(list)
	return list, nil
}

// CheckpointLabels is ListCheckpoints with VM, ID, label, parent, cause and time of creation alone. It reads the index, and a
// manifest only if the index has not seen it as it is.
func (h *Home) CheckpointLabels(ctx context.Context, vm string) ([]CheckpointEntry, error) {
	return h.labels(ctx, vm, true)
}

// CheckpointsLabelled returns the ids of the checkpoints of vm that have label, by the index, the oldest first.
func (h *Home) CheckpointsLabelled(ctx context.Context, vm, label string) (ids []string, err error) {
	list, err := h.labels(ctx, vm, false)
	for _, c := range list {
		if c.Label == label {
			ids = append(ids, c.ID)
		}
	}
	return ids, err
}

// NewestCheckpoints is CheckpointLabels of the newest n. Which these are the index says, and they are read.
func (h *Home) NewestCheckpoints(ctx context.Context, vm string, n int) ([]CheckpointEntry, error) {
	list, err := h.labels(ctx, vm, false)
	list = list[max(0, len(list)-n):]
	for i, l := range list {
		c, _, err := checkpoint.Read(h.CheckpointDir(vm, l.ID), vm, l.ID)
		if err != nil {
			c = checkpoint.Record{VM: vm, ID: l.ID}
		}
		list[i] = CheckpointEntry{c, err}
	}
	return slices.DeleteFunc(list, forgotten), err
}

// forgotten says that a checkpoint went since its name was read.
func forgotten(c CheckpointEntry) bool { return errors.Is(c.Err, fs.ErrNotExist) }

// labels is CheckpointLabels. Without look it trusts the index: a manifest changes by damage alone.
func (h *Home) labels(ctx context.Context, vm string, look bool) ([]CheckpointEntry, error) {
	ids, err := h.CheckpointIDs(vm)
	if err != nil {
		return nil, err
	}
	list := make([]CheckpointEntry, 0, len(ids))
	s := source[checkpoint.Record]{
		vm:   vm,
		ids:  ids,
		dir:  h.CheckpointsDir(vm),
		path: checkpoint.ManifestPath,
		look: look,
		read: func(id string) (checkpoint.Record, manifest.Stamp, error) {
			c, st, err := checkpoint.Read(h.CheckpointDir(vm, id), vm, id)
			return checkpoint.Record{VM: vm, ID: id, Label: c.Label, CreatedAt: c.CreatedAt, Parent: c.Parent, Cause: c.Cause}, st, err
		},
		pack: func(c checkpoint.Record) string { return c.CreatedAt.Format(time.RFC3339Nano) + "\t" + c.Pack() },
		unpack: func(id, brief string) (checkpoint.Record, bool) {
			created, rest, found := strings.Cut(brief, "\t")
			at, err := time.Parse(time.RFC3339Nano, created)
			c := checkpoint.Record{VM: vm, ID: id, CreatedAt: at}
			return c, found && err == nil && c.Unpack(rest)
		},
	}
	err = eachBrief(ctx, h, s, func(_ string, c checkpoint.Record, err error) { list = append(list, CheckpointEntry{c, err}) })
	sortCheckpoints(list)
	return list, err
}

func sortCheckpoints(list []CheckpointEntry) {
	slices.SortFunc(list, func(a, b CheckpointEntry) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
}

// source is one kind of manifest, of which the index has briefs.
type source[T any] struct {
	vm     string // whose checkpoints; empty for VMs
	ids    []string
	dir    string                 // with the directories of all
	path   func(id string) string // the manifest, from dir
	look   bool                   // whether manifests have changed; else they are taken as unchanged
	read   func(id string) (T, manifest.Stamp, error)
	pack   func(T) string
	unpack func(id, brief string) (T, bool)
}

// settled is the age from which a manifest's time of change tells it from a later one. File systems' clocks tick
// every few milliseconds: two saves within a tick could look the same.
const settled = 100 * time.Millisecond

// staleShare is which part of a listing's rows in the index may be missing or too many: to write a long listing takes
// longer than to read a few manifests.
const staleShare = 64

// eachBrief calls tell for each manifest of s, from the index where that has it as it is, and updates the index. The
// error is ctx's alone; every other is told of its manifest.
func eachBrief[T any](ctx context.Context, h *Home, s source[T], tell func(string, T, error)) error {
	if len(s.ids) == 0 { // nor is an index made for nothing
		return ctx.Err()
	}
	var known map[string]row
	indexErr := h.withIndex(ctx, func(db *sql.DB) (err error) {
		known, err = readIndex(ctx, db, s.vm)
		return err
	}) // read-only, full, locked, of a newer noid: the manifests are enough
	dir, err := os.Open(s.dir) // a stat from here is cheaper than one by the whole path, which shows with a thousand VMs
	if err == nil {
		defer dir.Close()
	}
	rows, news, kept := make(map[string]row, len(s.ids)), 0, 0
	for _, id := range s.ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		old, ok := known[id]
		if ok && (!s.look || manifest.StampAt(dir, s.path(id)) == old.Stamp) {
			if record, ok := s.unpack(id, old.brief); ok {
				tell(id, record, nil)
				rows[id] = old
				kept++
				continue
			}
		}
		record, st, err := s.read(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since its name was read
		}
		if ok {
			rows[id] = old // a stale row does no harm, and saves a write
			kept++
		}
		tell(id, record, err)
		brief := s.pack(record)
		if err == nil && (!s.look || time.Since(time.Unix(0, st.MtimeNs)) > settled) && !strings.Contains(brief, "\n") {
			rows[id] = row{st, brief}
			news++
		}
	}
	if indexErr == nil && news+len(known)-kept > len(rows)/staleShare {
		// A failure costs the next listing some time, nothing else.
		_ = h.withIndex(ctx, func(db *sql.DB) error { return writeIndex(ctx, db, s.vm, rows) })
	}
	return ctx.Err()
}

// Repair builds the index anew from the manifests and reports what it found, for people to read.
func (h *Home) Repair(ctx context.Context) (report string, err error) {
	if err := h.Make(); err != nil {
		return "", err
	}
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
		list, err := h.CheckpointLabels(ctx, vm) // which fills the index
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
	report = fmt.Sprintf("vms: %d, checkpoints: %d, broken: %d", len(vms), checkpoints, len(problems))
	return strings.Join(append([]string{report}, problems...), "\n"), nil
}

// globEscape makes path match itself alone in filepath.Glob.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
