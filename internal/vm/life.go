package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/manifest"
	"noid/internal/proc"
	"noid/internal/vmm"
)

// stopWait is how long Stop waits for a guest to shut down before it kills it.
const stopWait = 10 * time.Second

// Start boots a stopped or dead VM from its disk.
func (m *Manager) Start(ctx context.Context, name string) error {
	v, d, lock, err := m.open(ctx, name, "start")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if st := certain(ctx, d, m.Home.VMDir(name), v); st == vmm.Running || st == vmm.Paused {
		return errs.New(errs.ErrState, "vm %q is %s already", name, st)
	}
	if err := v.Process.Kill(ctx); err != nil { // a halted Firecracker
		return err
	}
	v.Boots = m.rehome(&v.Machine, v.Boots)
	if v.WarmFrom = nil; v.Unannounced != nil { // its disk is no new one's any more
		v.Unannounced.Template = ""
	}
	// Should noid be killed before the new process is recorded: an empty staging directory has Sweep look for it.
	mark := m.Home.StagingDir(name)
	if err := os.Mkdir(mark, 0o700); err != nil {
		return fmt.Errorf("starting vm %q: %w", name, err)
	}
	defer os.Remove(mark)
	if err := m.boot(ctx, d, m.Home.VMDir(name), &v); err != nil {
		return fmt.Errorf("starting vm %q: %w", name, err)
	}
	return nil
}

// Stop asks the guest to power off, and kills the VMM when it has not done so in stopWait, or at once with force.
func (m *Manager) Stop(ctx context.Context, name string, force bool) error {
	v, d, lock, err := m.open(ctx, name, "stop")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	dir := m.Home.VMDir(name)
	st := certain(ctx, d, dir, v)
	if st != vmm.Running && st != vmm.Paused {
		if st == Stopped {
			return v.Process.Kill(ctx)
		}
		return notRunning(name, st, "stop")
	}
	v.StopRequested = true
	if err := m.Home.SaveVM(dir, v); errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		m.warn("the disk is full: if this vm must be killed, it will be shown as dead, not as stopped")
	} else if err != nil {
		return err
	}
	if !force {
		if st == vmm.Paused {
			if err := d.Tell(ctx, dir, vmm.Resume); err != nil {
				return err
			}
		}
		if m.poweroff(ctx, v) || d.Tell(ctx, dir, vmm.Shutdown) == nil {
			deadline := time.Now().Add(stopWait)
			for v.Process.Alive() && d.Ended(dir) == vmm.EndedUnknown && time.Now().Before(deadline) && ctx.Err() == nil {
				time.Sleep(20 * time.Millisecond)
			}
			if err := ctx.Err(); err != nil { // the guest goes on shutting down: it was told
				return err
			}
		}
	}
	end, cancel := settle(ctx)
	defer cancel()
	return errors.Join(v.Process.Kill(end), ctx.Err())
}

// Tell pauses or resumes a VM.
func (m *Manager) Tell(ctx context.Context, name string, c vmm.Command) error {
	verb := map[vmm.Command]string{vmm.Pause: "pause", vmm.Resume: "resume"}[c]
	v, d, lock, err := m.open(ctx, name, verb)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	dir := m.Home.VMDir(name)
	st := certain(ctx, d, dir, v)
	if st != vmm.Running && st != vmm.Paused {
		return notRunning(name, st, verb)
	}
	if c == vmm.Pause && st == vmm.Running {
		v.Frozen = m.freeze(ctx, v)
		if err := m.Home.SaveVM(dir, v); err != nil {
			if v.Frozen {
				m.thaw(ctx, v, false)
			}
			return err
		}
	}
	if err := d.Tell(ctx, dir, c); err != nil {
		return ended(v, err)
	}
	if c == vmm.Resume && v.Frozen {
		m.thaw(ctx, v, true)
		v.Frozen = false
		return m.Home.SaveVM(dir, v)
	}
	return nil
}

// Destroy kills the VM and removes it, and its checkpoints when asked. It returns how many checkpoints stay.
func (m *Manager) Destroy(ctx context.Context, name string, checkpoints bool) (kept int, err error) {
	if err := home.CheckName(name); err != nil {
		return 0, err
	}
	lock, err := m.Home.Lock(ctx, name, "destroy")
	if err != nil {
		return 0, err
	}
	defer func() {
		lock.Unlock()
		if err == nil {
			m.prune(ctx)
		}
	}()
	dir := m.Home.VMDir(name)
	v, err := m.load(name)
	if _, broken := errors.AsType[*manifest.BrokenError](err); err != nil && !broken {
		if !checkpoints || !errors.Is(err, errs.ErrNotFound) {
			return 0, err
		}
		if ids, _ := m.Home.CheckpointIDs(name); len(ids) == 0 {
			return 0, err
		}
	} else {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		// First out of the way, then killed: whoever is killed in between leaves no dead VM, but one that Sweep ends.
		old := m.Home.OldDir(name)
		if err := publish(dir, old); err != nil {
			return 0, err
		}
		end, cancel := settle(ctx)
		defer cancel()
		if err := v.Process.Kill(end); err != nil {
			return 0, err
		}
		if err := abandon(ctx, proc.Process{}, old); err != nil { // with what else runs there, whoever was recorded
			return 0, err
		}
	}
	ids, err := m.Home.CheckpointIDs(name)
	if errors.Is(err, errs.ErrNotFound) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	if !checkpoints {
		return len(ids), nil
	}
	for _, id := range ids {
		if err := m.remove(name, id); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
