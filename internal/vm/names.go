package vm

import (
	"context"
	"slices"

	"noid/internal/home"
)

// Names returns the names of the VMs in the default home, sorted, with destroyed also of those of which checkpoints
// stay. It is for completion: it makes and locks nothing, and leaves out what it cannot read.
func Names(destroyed bool) []string {
	dir, err := home.DefaultDir()
	if err != nil {
		return nil
	}
	names, _ := home.At(dir).VMNames()
	if destroyed {
		owners, _ := home.At(dir).CheckpointOwners()
		names = append(names, owners...)
		slices.Sort(names)
	}
	return slices.Compact(names)
}

// Kept returns the sound checkpoints of name in the default home, as Names does.
func Kept(ctx context.Context, name string) (kept []Checkpoint) {
	dir, err := home.DefaultDir()
	if err != nil {
		return nil
	}
	entries, _ := home.At(dir).ListCheckpoints(ctx, name)
	for _, e := range entries {
		if e.Err == nil {
			kept = append(kept, e.Record)
		}
	}
	return kept
}
