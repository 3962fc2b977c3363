package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"noid/internal/errs"
	"noid/internal/link/tree"
	"noid/internal/link/wire"
)

// Process is one in a guest, the kernel's threads and noid's agent apart. Command is the guest's text.
type Process = wire.Process

// ProcessChange is a process that came (no Before), went (no After), or has another start or command.
type ProcessChange struct{ Before, After *Process }

// Bounds of what a guest may list.
const (
	maxProcesses    = 100_000
	maxProcessBytes = 32 << 20
)

// compareProcesses compares by pid the processes of both sides.
func (c *comparison) compareProcesses(ctx context.Context) (list []ProcessChange, err error) {
	before, err := c.a.processes(ctx)
	if err != nil {
		return nil, err
	}
	after, err := c.b.processes(ctx)
	if err != nil {
		return nil, err
	}
	pids := slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)))
	slices.Sort(pids)
	for _, pid := range slices.Compact(pids) {
		if a, b := before[pid], after[pid]; a == nil || b == nil || *a != *b {
			list = append(list, ProcessChange{a, b})
		}
	}
	return list, nil
}

// processes are those of the side's guest by pid.
func (s *side) processes(ctx context.Context) (map[int]*Process, error) {
	if s.session == nil {
		return nil, errs.New(errs.ErrUsage, "diff: an image has no processes").Hint("compare two moments of a vm")
	}
	var out bytes.Buffer
	if err := s.run(ctx, nil, &bounded{&out, maxProcessBytes}, "processes"); err != nil {
		return nil, err
	}
	found := map[int]*Process{}
	for lines := json.NewDecoder(&out); len(found) < maxProcesses; {
		p := &Process{}
		if err := lines.Decode(p); err == io.EOF {
			return found, nil
		} else if err != nil {
			return nil, s.errorf("diff of", fmt.Errorf("%w: processes: %w", tree.ErrBad, err))
		}
		found[p.PID] = p
	}
	return nil, s.errorf("diff of", fmt.Errorf("%w: more than %d processes", tree.ErrBad, maxProcesses))
}

// bounded refuses more than some bytes.
type bounded struct {
	*bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, tree.ErrBad
	}
	return b.Buffer.Write(p)
}
