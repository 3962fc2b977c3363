package vm

import (
	"context"
	"slices"

	"noid/internal/config"
	"noid/internal/home"
	"noid/internal/kernels"
	"noid/internal/network/lab"
)

// Names returns the names of the VMs in the default home, sorted, with destroyed also of those of which checkpoints
// stay. It is for completion: it makes and locks nothing, and leaves out what it cannot read.
func Names(destroyed bool) (names []string) {
	h, err := lookDefault()
	if err != nil {
		return nil
	}
	names, _ = h.VMNames()
	if destroyed {
		owners, _ := h.CheckpointOwners()
		names = append(names, owners...)
		slices.Sort(names)
	}
	return slices.Compact(names)
}

// ImageNames returns the names of the images in the default home, as Names does.
func ImageNames() (names []string) {
	h, err := lookDefault()
	if err != nil {
		return nil
	}
	images, _ := (&Manager{Home: h}).Images().List()
	for _, i := range images {
		names = append(names, i.Refs...)
	}
	return names
}

// Kept returns the sound checkpoints of name in the default home, as Names does.
func Kept(ctx context.Context, name string) (kept []Checkpoint) {
	h, err := lookDefault()
	if err != nil {
		return nil
	}
	entries, _ := h.ListCheckpoints(ctx, name)
	for _, e := range entries {
		if e.Err == nil {
			kept = append(kept, e.Record)
		}
	}
	return kept
}

// Kernels returns the names of the kernels in the default home, as Names does.
func Kernels() []string {
	h, err := lookDefault()
	if err != nil {
		return nil
	}
	return kernels.Names(h.KernelsDir())
}

// NetworkNames returns what --net takes in the default home, as Names does.
func NetworkNames() []string {
	h, err := lookDefault()
	if err != nil {
		return config.Config{}.NetworkNames()
	}
	c, _ := config.Load(h.ConfigPath())
	return c.NetworkNames()
}

// Labs returns the names of the networks between VMs in the default home, as Names does.
func Labs() (names []string) {
	h, err := lookDefault()
	if err != nil {
		return nil
	}
	all, _ := lab.List(h.NetworksDir())
	for _, n := range all {
		names = append(names, n.Name)
	}
	return names
}

func lookDefault() (*home.Home, error) {
	dir, err := home.DefaultDir()
	if err != nil {
		return nil, err
	}
	return home.Look(dir)
}
