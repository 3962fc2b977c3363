package vm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/errs"
)

// TryOptions say when Try goes back.
type TryOptions struct {
	Always bool // whatever the command did
	// Ask, if set, is asked after a command that did not fail: false goes back. before is the checkpoint's id.
	Ask func(ctx context.Context, before string, e Exit) (keep bool, err error)
}

// Tried is what Try did.
type Tried struct {
	Exit   Exit
	Before string // the id of the checkpoint of what was there before the command
	Back   bool   // the VM is as it was there
}

// backWait bounds the way back, also of a try that was interrupted: a restore, and the wait for another command.
const backWait = 10 * time.Minute

// Try runs c in the guest of name, and puts the VM back to where it was before if c fails, cannot be run, or is
// interrupted. The checkpoint of that moment stays. Errors are those of Exec, Checkpoint and Restore. Exec's are there
// after the VM went back.
func (m *Manager) Try(ctx context.Context, name string, c Command, streams Streams, o TryOptions) (t Tried, err error) {
	if err := c.checkWhole(); err != nil {
		return t, err
	}
	s, err := m.running(ctx, name, "try")
	if err != nil {
		return t, err
	}
	if s.vm.Machine.Agent { // what does not answer is told before anything is kept
		if err := s.introduce(ctx, c.Wait); err != nil {
			return t, s.execError(err)
		}
		s.line.Close()
	}
	t.Before, err = m.checkpointAuto(ctx, name, checkpoint.Cause{By: checkpoint.ByTry, What: CommandLine(c)})
	if err == errPaused {
		return t, s.paused()
	} else if err != nil {
		return t, err
	}
	if _, err := m.Pin(ctx, name, t.Before, true); err != nil { // automatic ones that are made meanwhile must not drive it out
		return t, err
	}
	defer func() {
		end, cancel := cleanup(ctx)
		defer cancel()
		if _, err := m.Pin(end, name, t.Before, false); err != nil {
			m.warn(fmt.Sprintf("checkpoint %s of vm %q stays pinned: %v", t.Before, name, err))
		}
	}()
	if s, err = m.running(ctx, name, "try"); err != nil {
		return t, err
	}
	s.vm.Auto = ""
	t.Exit, err = s.exec(ctx, c, streams)
	if streams.End != nil {
		streams.End()
	}
	back := o.Always || err != nil || t.Exit.Code != 0 || t.Exit.TimedOut
	if !back && o.Ask != nil {
		keep, askErr := o.Ask(ctx, t.Before, t.Exit)
		back, err = !keep, askErr
	}
	if !back {
		return t, nil
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), backWait)
	defer cancel()
	backErr := errs.ErrBusy
	for errors.Is(backErr, errs.ErrBusy) && end.Err() == nil {
		backErr = m.Restore(end, name, t.Before, RestoreOptions{NoBackup: true, try: true})
	}
	if backErr != nil {
		return t, errors.Join(err, errs.WithHint(fmt.Errorf("going back: %w", backErr), "'noid restore "+name+" "+t.Before+"' goes back"))
	}
	t.Back = true
	return t, err
}

// CommandLine is c as a history shows it.
func CommandLine(c Command) string {
	if c.Shell {
		return "(shell)"
	}
	return checkpoint.CommandLine(c.Argv)
}
