package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/storage"
)

// Usage is what the things in a home take of the disk.
type Usage struct {
	VMs                               []VMUsage         // sorted by name
	Images, Kernels, Templates, Other *storage.Occupied // nil when VMs were named
	Total                             storage.Occupied  // all of these
}

// VMUsage is what a VM and its checkpoints take of the disk. Either may be gone.
type VMUsage struct {
	Name              string
	Checkpoints       int
	VM, OfCheckpoints storage.Occupied
	Total             storage.Occupied // both
}

// Usage looks at the VMs called names and their checkpoints, or, without names, at all of the home. It goes on after an
// error and returns all of them with what it found.
func (m *Manager) Usage(ctx context.Context, names []string) (Usage, error) {
	var u Usage
	var problems []error
	occupy := func(dir string, skip func(string) bool) storage.Occupied {
		o, err := storage.Occupy(ctx, dir, skip)
		if _, gone := os.Lstat(dir); err != nil && !errors.Is(gone, fs.ErrNotExist) {
			problems = append(problems, fmt.Errorf("looking at %s: %w", dir, err))
		}
		u.Total.Add(o)
		return o
	}
	all := len(names) == 0
	if all {
		vms, err := m.Home.VMNames()
		owners, err2 := m.Home.CheckpointOwners()
		problems = append(problems, err, err2)
		names = append(vms, owners...)
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for _, name := range names {
		ids, err := m.Home.CheckpointIDs(name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		v := VMUsage{Name: name, Checkpoints: len(ids), VM: occupy(m.Home.VMDir(name), nil), OfCheckpoints: occupy(m.Home.CheckpointsDir(name), nil)}
		v.Total.Add(v.VM)
		v.Total.Add(v.OfCheckpoints)
		u.VMs = append(u.VMs, v)
	}
	if all {
		images, kernels, templates := occupy(m.Home.ImagesDir(), nil), occupy(m.Home.KernelsDir(), nil), occupy(m.Home.TemplatesRoot(), nil)
		u.Images, u.Kernels, u.Templates, u.Other = &images, &kernels, &templates, &storage.Occupied{}
		parts := []string{m.Home.ImagesDir(), m.Home.KernelsDir(), m.Home.TemplatesRoot(), m.Home.StagingRoot(), m.Home.VMsDir(), m.Home.CheckpointsRoot()}
		linked := filepath.Join(m.Home.Dir(), home.StorageDir, home.ImagesDir) // where the images of a volume are
		rest := occupy(m.Home.Dir(), func(p string) bool { return slices.Contains(parts, p) || p == linked })
		u.Other.Add(rest)
		for _, dir := range parts[3:] { // not by the walk above: storage may be a link
			u.Other.Add(occupy(dir, func(p string) bool {
				_, known := slices.BinarySearch(names, filepath.Base(p))
				return known && filepath.Dir(p) == dir
			}))
		}
		if info, err := os.Lstat(filepath.Join(m.Home.Dir(), home.VolumeFile)); err == nil {
			inside := max(0, u.Total.Total()-kernels.Total()-rest.Total()) // counted already
			twice := min(inside, info.Sys().(*syscall.Stat_t).Blocks*512)
			u.Other.Discount(twice)
			u.Total.Discount(twice)
		}
	}
	return u, errs.Join(append(problems, ctx.Err())...)
}
