package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"noid/internal/checkpoint"
	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/link"
)

// SetAuto says when checkpoints of name are made by themselves: see config.ParseAuto.
func (m *Manager) SetAuto(ctx context.Context, name, when string) error {
	auto, err := parseAuto(when)
	if err != nil {
		return err
	}
	m.beginChange(ctx, "auto")
	s, err := m.open(ctx, name, "auto")
	if err != nil {
		return err
	}
	defer s.close()
	s.vm.Auto = auto
	return s.save() // where the VM's helper sees it
}

// parseAuto is home.VM's Auto for what config.ParseAuto accepts.
func parseAuto(when string) (string, error) {
	auto, err := config.ParseAuto(when)
	if auto == config.AutoOff {
		auto = ""
	}
	return auto, err
}

// autoOf is parseAuto, with "" for the configuration's. What goes with lease has none by default.
func (m *Manager) autoOf(asked string, lease *home.Lease) (string, error) {
	if asked == "" && lease == nil {
		asked = m.Config.Auto
	}
	if asked == "" {
		return "", nil
	}
	return parseAuto(asked)
}

// checkTurn accepts a client's name of its turn.
func checkTurn(turn string) error {
	if checkLabel(turn) != nil {
		return errs.New(errs.ErrUsage, "not a turn: %.60q", turn).Hint(fmt.Sprintf("it is one line of text, at most %d bytes of UTF-8", maxLabel))
	}
	return nil
}

// beforeChange is what happens before what asks something of the guest that may change it: the VM is touched, and a
// checkpoint is made if it is to have one. It fails when that fails: what cannot be undone is not begun.
func (s *session) beforeChange(ctx context.Context, what string) error {
	err := s.before(ctx, s.vm.Auto, what, "")
	s.line.Close()
	return err
}

// beforeCommand is beforeChange for c, which is asked on s.line. The caller closes that.
func (s *session) beforeCommand(ctx context.Context, c Command) error {
	return s.before(ctx, cmp.Or(c.Auto, s.vm.Auto), CommandLine(c), c.Turn)
}

func (s *session) before(ctx context.Context, auto, what, turn string) error {
	defer s.touch()
	if auto != config.AutoExec {
		return nil
	}
	_, line, err := s.checkpointBefore(ctx, s.vm.Name, checkpoint.Cause{By: checkpoint.ByAuto, What: what, Turn: turn})
	s.line.Close()
	if s.line = line; err == errPaused {
		return s.paused()
	} else if err != nil {
		return errs.WithHint(fmt.Errorf("the checkpoint before: %w", err), "'noid auto "+s.vm.Name+" off' goes on without")
	}
	return nil
}

// CheckpointAuto makes the checkpoint of name that is due after a while, unless nothing has happened since the last one.
// It does nothing for a VM that does not run.
func (m *Manager) CheckpointAuto(ctx context.Context, name string) error {
	_, err := m.checkpointAuto(ctx, name, checkpoint.Cause{By: checkpoint.ByAuto})
	if errors.Is(err, errs.ErrState) {
		return nil
	}
	return err
}

// checkpointAuto makes a checkpoint of name because of why, and returns its id. One of the turn that the last one was
// made for is not made, nor one because time went by while nothing happened: then the last one's id is returned.
func (m *Manager) checkpointAuto(ctx context.Context, name string, why checkpoint.Cause) (id string, err error) {
	id, line, err := m.checkpointBefore(ctx, name, why)
	line.Close()
	return id, err
}

// errPaused is a command to come that will not run: it needs no checkpoint.
var errPaused = errors.New("paused")

// checkpointBefore is checkpointAuto right before something is asked of the guest: line is a connection to the agent for
// that, or nil.
func (m *Manager) checkpointBefore(ctx context.Context, name string, why checkpoint.Cause) (id string, line *link.Line, err error) {
	if err := m.beginFilling(ctx, "auto"); err != nil {
		return "", nil, err
	}
	s, err := m.open(ctx, name, "checkpoint")
	if err != nil {
		return "", nil, err
	}
	defer func() {
		line, s.line = s.line, nil
		s.close()
	}()
	st, err := s.up(ctx)
	if err != nil {
		return "", nil, err
	}
	if st == Paused && why.What != "" && why.By != checkpoint.ByExplore {
		return "", nil, errPaused
	}
	_, last, _ := strings.Cut(s.last(), "@")
	if why.By == checkpoint.ByAuto && last != "" {
		c, err := m.Home.LoadCheckpoint(name, last)
		sameTurn := err == nil && why.Turn != "" && c.Cause.Turn == why.Turn
		if sameTurn || err == nil && why.What == "" && s.idle() {
			return last, nil, nil
		}
	}
	wentBack := s.vm.RestoredFrom != "" && s.last() == s.vm.RestoredFrom && m.isUntouched(s.vm)
	c, err := s.checkpoint(ctx, st, checkpoint.Record{Cause: why, Untouched: wentBack && why.What != "" && why.By != checkpoint.ByExplore})
	if err != nil {
		return "", nil, s.explain(err)
	}
	if m.boundIsDue(name, c.ID) {
		m.boundAutomatic(ctx, name)
	}
	return c.ID, nil, nil
}

// boundIsDue says, by the random id of a new checkpoint of name, whether to look for too many: one in 16, where few are
// to stay more often, and in a long history more seldom, by as much as looking takes longer there.
func (m *Manager) boundIsDue(name, id string) bool {
	n, err := strconv.ParseUint(id, 16, 32)
	often := uint64(min(max(m.autoKeep()/4, 1), 16))
	if err != nil || (n>>28)%often != 0 { // the first digit
		return false
	}
	ids, _ := m.Home.CheckpointIDs(name)
	return n%max(1, uint64(len(ids))/256) == 0
}

// autoKeep is how many checkpoints that noid made by itself a VM keeps.
func (m *Manager) autoKeep() int { return cmp.Or(m.Config.AutoKeep, config.DefaultAutoKeep) }

// boundAutomatic removes the oldest of the checkpoints of name that noid made by itself, beyond as many as the
// configuration says.
func (m *Manager) boundAutomatic(ctx context.Context, name string) {
	plan, err := m.plan(ctx, name, Retention{Last: m.autoKeep()}, false, func(e LogEntry) bool { return e.Automatic() && !e.Cause.Backup() })
	if err == nil {
		err = m.removeCheckpoints(name, going(plan)...)
	}
	if err != nil {
		m.warn("forgetting old automatic checkpoints: " + err.Error())
	}
}
