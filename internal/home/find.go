package home

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"noid/internal/checkpoint"
	"noid/internal/errs"
)

// minPrefix is the fewest hex digits that stand for an id.
const minPrefix = 3

// FindCheckpoint returns the checkpoint of vm that ref names: a full id, a prefix of 3 digits or more of one id
// alone, or a label of one checkpoint alone. Several are errs.ErrUsage with the candidates in the message, a shorter
// prefix of any is errs.ErrUsage too, none is errs.ErrNotFound. A damaged one is a *manifest.BrokenError; the record
// then holds VM and ID at most.
func (h *Home) FindCheckpoint(ctx context.Context, vm, ref string) (checkpoint.Record, error) {
	if err := CheckName(vm); err != nil {
		return checkpoint.Record{}, err
	}
	if checkID(ref) {
		c, err := h.LoadCheckpoint(vm, ref)
		if !errors.Is(err, errs.ErrNotFound) {
			return c, err
		}
	}
	list, err := h.labels(ctx, vm, false)
	if err != nil {
		return checkpoint.Record{}, err
	}
	isPrefix := len(ref) >= minPrefix && isHex(ref)
	named := func(id, label string) bool {
		return isPrefix && strings.HasPrefix(id, ref) || ref != "" && label == ref
	}
	var found []CheckpointEntry
	for _, c := range list {
		if named(c.ID, c.Label) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		err := noCheckpoint(vm, ref)
		short := func(c CheckpointEntry) bool { return ref != "" && strings.HasPrefix(c.ID, ref) }
		if slices.ContainsFunc(list, short) {
			err = errs.New(errs.ErrUsage, "%q is too short for the id of a checkpoint of vm %q", ref, vm).
				Hint(fmt.Sprintf("give %d digits or more; 'noid checkpoints %s' lists the ids", minPrefix, vm))
		} else if slices.ContainsFunc(list, func(c CheckpointEntry) bool { return c.Err != nil }) {
			err = errs.WithHint(err, "a damaged checkpoint is known by its id alone: 'noid verify "+vm+"' shows it")
		}
		return checkpoint.Record{}, err
	case 1: // the index has served to find it; what is trusted is read
		c, err := h.LoadCheckpoint(vm, found[0].ID)
		if err != nil {
			c = checkpoint.Record{VM: vm, ID: found[0].ID}
		} else if !named(c.ID, c.Label) {
			return checkpoint.Record{}, noCheckpoint(vm, ref)
		}
		return c, err
	}
	candidates := make([]string, len(found))
	for i, c := range found {
		candidates[i] = c.ID
		if c.Label != "" {
			candidates[i] += fmt.Sprintf(" (%q)", c.Label)
		}
	}
	return checkpoint.Record{}, errs.New(errs.ErrUsage, "%q is more than one checkpoint of vm %q: %s",
		ref, vm, strings.Join(candidates, ", ")).Hint("give the id, or more digits of it")
}
