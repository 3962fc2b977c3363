package vm

import (
	"context"
	"errors"
	"slices"

	"noid/internal/checkpoint"
	"noid/internal/errs"
)

// Bisected is what Bisect found: the first bad checkpoint may be one of several where some could not be tested.
type Bisected struct {
	Good  checkpoint.Record // the last one that is good
	Bad   checkpoint.Record // the first one that is known to be bad
	Tests int
	// Skipped are those between them that could not be tested.
	Skipped []checkpoint.Record
}

// skipCode is the exit code by which a command says that it cannot test, and 128 and more end a bisection: as git bisect
// run has it.
const skipCode = 125

// Bisect looks for the checkpoint of name that first made c fail, in the history from bad back to good, both references
// as Restore takes them. It runs c in throw-away clones, as ExecAt does: 0 is good, 125 cannot be tested, 128 and more
// end it, and anything else is bad. good and bad themselves are not tested. told is called with each result.
func (m *Manager) Bisect(ctx context.Context, name, good, bad string, c Command, s func(checkpoint.Record) Streams, told func(checkpoint.Record, Exit)) (b Bisected, err error) {
	line, err := m.lineage(ctx, name, good, bad)
	if err != nil {
		return b, err
	}
	low, high := 0, len(line)-1 // good, and bad
	skipped := map[int]bool{}
	for {
		at := untested(low, high, skipped)
		if at < 0 {
			break
		}
		exit, err := m.ExecAt(ctx, name, line[at].ID, c, s(line[at]))
		if err != nil {
			return b, err
		}
		b.Tests++
		told(line[at], exit)
		switch {
		case exit.TimedOut:
			high = at
		case exit.Code >= 128:
			return b, errs.New(errs.ErrState, "bisect: the command ended with %d in %s@%s", exit.Code, name, line[at].ID).
				Hint("0 is good, 125 cannot be tested, any other code below 128 is bad")
		case exit.Code == skipCode:
			skipped[at] = true
		case exit.Code == 0:
			low = at
		default:
			high = at
		}
	}
	b.Good, b.Bad, b.Skipped = line[low], line[high], line[low+1:high]
	return b, nil
}

// untested returns what to test next between low and high: what is nearest to the middle and not skipped, or -1.
func untested(low, high int, skipped map[int]bool) int {
	best := -1
	middle := low + (high-low)/2
	for i := low + 1; i < high; i++ {
		if !skipped[i] && (best < 0 || abs(i-middle) < abs(best-middle)) {
			best = i
		}
	}
	return best
}

func abs(n int) int { return max(n, -n) }

// lineage returns the checkpoints from good to bad, each the parent of the next.
func (m *Manager) lineage(ctx context.Context, name, good, bad string) ([]checkpoint.Record, error) {
	first, err := m.Home.FindCheckpoint(ctx, name, good)
	if err != nil {
		return nil, err
	}
	c, err := m.Home.FindCheckpoint(ctx, name, bad)
	if err != nil {
		return nil, err
	}
	line := []checkpoint.Record{c}
	for c.ID != first.ID {
		id, err := m.idOf(name, m.before(name, c.Parent))
		if err == nil {
			c, err = m.Home.LoadCheckpoint(name, id)
			if errors.Is(err, errs.ErrNotFound) {
				return nil, errs.New(errs.ErrState, "bisect: checkpoint %s of vm %q was forgotten: what came before it is not known", id, name).
					Hint("'noid log --graph " + name + "' draws what came from what")
			}
		}
		if errors.Is(err, errs.ErrNotFound) || errors.Is(err, errs.ErrState) {
			return nil, errs.New(errs.ErrState, "bisect: %s@%s does not come from %s@%s", name, line[0].ID, name, first.ID).
				Hint("'noid log --graph " + name + "' draws what came from what")
		} else if err != nil {
			return nil, err
		}
		line = append(line, c)
	}
	if len(line) == 1 {
		return nil, errs.New(errs.ErrUsage, "bisect: %s@%s cannot be good and bad", name, first.ID)
	}
	slices.Reverse(line)
	return line, nil
}
