package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"noid/internal/errs"
)

// Moments are the two sides of a Diff that args name: each a VM, NAME@ID, NAME@now or an image. With one alone, which is
// a VM, the other one is the checkpoint that it came from last or was kept as, or without that its newest.
func (m *Manager) Moments(ctx context.Context, args []string) (before, after Moment, err error) {
	sides := make([]Moment, len(args))
	for i, arg := range args {
		if sides[i], err = m.findMoment(arg); err != nil {
			if vm := sides[0].VM; i == 1 && vm != "" && errors.Is(err, errs.ErrNotFound) && CheckName(arg) == nil {
				err = errs.WithHint(err, fmt.Sprintf("a checkpoint of vm %q is %s@ID: 'noid checkpoints %s' lists them", vm, vm, vm))
			}
			return before, after, err
		}
	}
	if len(sides) == 2 {
		return sides[0], sides[1], nil
	}
	if after = sides[0]; after.Ref != "" || after.Image != nil {
		return before, after, errs.New(errs.ErrUsage, "diff: compare %s with what?", args[0]).Hint("noid diff " + args[0] + " B")
	}
	if v, err := m.Home.LoadVM(after.VM); err == nil {
		if now := m.now(after.VM, v); now != "" && exists(m.Home.CheckpointDir(after.VM, now)) {
			return Moment{VM: after.VM, Ref: now}, after, nil
		}
	}
	list, err := m.Checkpoints(ctx, after.VM, false, false)
	list = slices.DeleteFunc(list, func(c CheckpointEntry) bool { return c.Err != nil })
	if err == nil && len(list) == 0 {
		err = errs.New(errs.ErrNotFound, "diff: vm %q has no checkpoint to compare it with", after.VM).Hint("noid diff A B names two moments")
	}
	if err != nil {
		return before, after, err
	}
	return Moment{VM: after.VM, Ref: list[len(list)-1].ID}, after, nil
}

// findMoment is a VM if there is one of that name, else an image.
func (m *Manager) findMoment(arg string) (Moment, error) {
	name, ref, err := ParseRef(arg)
	if err == nil {
		if err = m.CheckKnown(name); err == nil || IsCheckpoint(arg) {
			return Moment{VM: name, Ref: ref}, err
		}
	}
	img, imageErr := m.Images().Find(arg)
	if imageErr == nil {
		return Moment{Image: &img}, nil
	}
	if err == nil || !errors.Is(imageErr, errs.ErrNotFound) {
		err = imageErr
	}
	return Moment{}, err
}

// IsCheckpoint tells NAME@ID from an image, which may have a digest after an @.
func IsCheckpoint(ref string) bool {
	name, id, found := strings.Cut(ref, "@")
	return found && CheckName(name) == nil && !strings.HasPrefix(id, "sha256:") && !strings.HasPrefix(id, "sha512:")
}
