package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"noid/internal/errs"
	"noid/internal/proc"
	"noid/internal/vmm"
)

const (
	// letRunWait bounds how long a guard tries: a snapshot that is being written may hold the VMM.
	letRunWait = 5 * time.Minute
	// letRunEvery is how often it looks, and calmLooks how many times in a row the guest must be seen running: a device
	// state that was being written may stop it once more when it is done.
	letRunEvery = 50 * time.Millisecond
	calmLooks   = 4
	// letRunTry is how long it holds the VM's lock at most before it lets others have it for letRunPause.
	letRunTry   = 2 * time.Second
	letRunPause = 50 * time.Millisecond
)

// guardPause starts a guard: a process that has the guest run again should this one be killed during the pause. It is
// started before the pause and costs the guest nothing; it need not be up by then, since the pipe tells it what it
// missed. paused ends the guard's wait: with runs, the guest runs again; else the guard
// sees to that.
func (s *session) guardPause() (paused func(runs bool), err error) {
	if len(s.PauseGuardCommand) == 0 {
		return func(bool) {}, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting the guard of the pause: %w", err)
	}
	defer r.Close()
	cmd := exec.Command(s.PauseGuardCommand[0], slices.Concat(s.PauseGuardCommand[1:], []string{s.vm.Name}, s.vm.Process.Args())...)
	cmd.Stdin, cmd.SysProcAttr = r, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("starting the guard of the pause: %w", err)
	}
	go cmd.Wait()
	return func(runs bool) {
		if runs {
			w.Write([]byte{1})
		}
		w.Close()
	}, nil
}

// LetRun ends the pause that a killed noid has left in the VM name, if the process that args name, as proc.Process.Args
// does, is still its VMM. It waits for the VM's lock.
func (m *Manager) LetRun(ctx context.Context, name string, args []string) error {
	p, err := proc.Parse(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, letRunWait)
	defer cancel()
	for over := false; !over; {
		if !p.Alive() {
			return nil
		}
		lock, err := m.Home.Lock(ctx, name, "resume")
		if err == nil {
			over, err = m.letRun(ctx, name, p)
			lock.Unlock()
			// Between two tries whoever waits gets his turn: a VMM that never answers must not be kept from 'noid
			// destroy'.
			time.Sleep(letRunPause)
		}
		if err != nil && !errors.Is(err, errs.ErrBusy) {
			return err
		}
	}
	return nil
}

// letRun is one try of LetRun's, letRunTry long; the lock is held.
func (m *Manager) letRun(ctx context.Context, name string, p proc.Process) (over bool, err error) {
	s, err := m.look(name, "resume")
	if err != nil || s.vm.Process != p {
		return true, err
	}
	ctx, cancel := context.WithTimeout(ctx, letRunTry)
	defer cancel()
	for calm := 0; calm < calmLooks; time.Sleep(letRunEvery) {
		if !p.Alive() {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, nil
		}
		if st, err := s.driver.State(ctx, s.dir); err == nil && st == Running {
			calm++
			continue
		}
		calm = 0
		s.driver.Tell(ctx, s.dir, vmm.Resume) // refused while a snapshot is being written: again
	}
	s.thaw(ctx)
	return true, nil
}
