package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/console"
	"noid/internal/errs"
	"noid/internal/helper"
	"noid/internal/network"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// capture saves the VM as of one moment in a staging directory: it can be loaded from there, and lacks what
// publishCheckpoint adds. The caller publishes or removes the directory, also when this fails.
func (s *session) capture(ctx context.Context, st State, label string) (c checkpoint.Record, staging string, err error) {
	c, staging, settle, err := s.captureAhead(ctx, st, label, false)
	if err == nil {
		err = settle()
	}
	return c, staging, err
}

// settled is a guest that has nothing to hear any more.
func settled() error { return nil }

// captureAhead is capture that returns when the guest runs again and may not have heard so. settle, which the caller
// calls if this has not failed, waits for that, and says why what was captured is none: see helper.Pause.End. What is to
// be a checkpoint has its disk written back by the guest, and may be packed: then memory and disk are in s.packing, and
// it cannot be loaded from there.
func (s *session) captureAhead(ctx context.Context, st State, label string, keep bool) (c checkpoint.Record, staging string, settle func() error, err error) {
	settle = settled
	if c, staging, err = s.prepareCapture(ctx, st, label, keep); err != nil {
		return c, staging, settle, err
	}
	guard, st, err := s.guardPause(ctx, st)
	if err != nil {
		return c, staging, settle, err
	}
	if c.AgentReady = s.vm.AgentFrozen; st == Running {
		if c.AgentReady, c.Synced = s.freezeFor(ctx, keep); c.AgentReady {
			guard.Frozen()
		}
	}
	downtime, resumed, err := s.standStill(ctx, staging, st, guard != nil)
	c.DowntimeMs = float64(downtime.Microseconds()) / 1000
	if !resumed { // the helper sees to it
		guard.Close()
		return c, staging, settle, err
	}
	end, frozen := make(chan error, 1), st == Running && c.AgentReady
	go func() {
		if frozen {
			s.thaw(ctx)
		}
		end <- guard.End()
	}()
	if err == nil {
		if c.Memory {
			s.keepFlows(ctx, staging)
		}
		return c, staging, sync.OnceValue(func() error { return <-end }), nil
	}
	if late := <-end; late != nil && !errors.Is(err, context.Canceled) {
		err = late // what went wrong in a pause that was no pause says nothing
	}
	return c, staging, settle, err
}

// prepareCapture does what captureAhead can do before the guest is disturbed.
func (s *session) prepareCapture(ctx context.Context, st State, label string, mayPack bool) (c checkpoint.Record, staging string, err error) {
	name := s.vm.Name
	staging = s.Home.StagingDir(name)
	if err := os.Mkdir(staging, 0o700); err != nil {
		return c, staging, err
	}
	if err := os.MkdirAll(s.Home.CheckpointsDir(name), 0o700); err != nil {
		return c, staging, err
	}
	if was := s.vm.Base; was != nil {
		if err := s.stampBase(ctx); err != nil {
			return c, staging, err
		}
		if s.vm.Base != was {
			if err := s.save(); err != nil {
				return c, staging, err
			}
		}
	}
	if c, err = s.newCheckpoint(st, label); err != nil {
		return c, staging, err
	}
	c.Packed = mayPack && s.canPack(staging)
	if err := s.checkRoom(ctx, staging, c); err != nil {
		return c, staging, err
	}
	if c.Packed {
		if s.packing, err = s.newPacking(ctx, c); err != nil {
			return c, staging, err
		}
		if err := s.packing.look(ctx); err != nil { // most of the work, before the agent waits for its end
			return c, staging, err
		}
	}
	if c.Machine.Base {
		err = linkBase(ctx, staging, s.file(vmm.BaseFile))
	}
	return c, staging, err
}

// guardPause has the VM's helper guard the pause of a running VM until the caller ends or closes the guard. It returns
// the VM's state as it is then: a pause that a killed noid has left is over.
func (s *session) guardPause(ctx context.Context, st State) (*helper.Pause, State, error) {
	if len(s.HelperCommand) == 0 || st != Running && st != Paused {
		return nil, st, nil
	}
	guard, err := helper.GuardPause(ctx, s.dir, s.vm.Process, func() error {
		return helper.Start(s.HelperCommand, s.driver.Name(), s.dir, s.vm.Process)
	})
	if err != nil {
		return guard, st, err
	}
	if st == Paused {
		st = s.state(ctx)
	}
	if ctx.Err() != nil { // the state is a guess then
		guard.Close()
		return nil, st, context.Cause(ctx)
	}
	if st == Running {
		guard.Begin()
		return guard, st, nil
	}
	return nil, st, guard.End()
}

// newCheckpoint is the record of a checkpoint of the VM, with what is known before it is made.
func (s *session) newCheckpoint(st State, label string) (c checkpoint.Record, err error) {
	v := s.vm
	c = checkpoint.Record{VM: v.Name, Label: label, CreatedAt: time.Now().UTC(), Parent: s.last(), Machine: v.Machine,
		Memory: st == Running || st == Paused, NoidVersion: s.Version, SourceKernel: v.SourceKernel, SourceRootfs: v.SourceRootfs,
		SourceBase: v.SourceBase, Image: v.Image, Files: withBase(v.Base),
		Boots: v.Boots, AgentVersion: v.AgentVersion}
	if v.Machine.Net {
		n, err := network.Load(s.dir)
		if err != nil {
			return c, err
		}
		c.Network = &n
	}
	if c.Memory && s.driver.UsesHostCPU(v.Machine) {
		if c.Host, err = checkpoint.ThisHost(); err != nil {
			return c, err
		}
	}
	c.ID = s.Home.NewCheckpointID(v.Name)
	return c, nil
}

// removeCapture removes what capture has made.
func (s *session) removeCapture(staging string) {
	if s.packing != nil {
		s.packing.end(false)
	}
	os.Remove(s.Home.CheckpointsDir(s.vm.Name)) // only when this was the first
	storage.RemoveAll(staging)                  // last: Sweep looks after what has a staging directory
}

// smallFiles is room for the device state, the console's log, sums and manifest, in bytes.
const smallFiles = 32 << 20

// checkRoom refuses a checkpoint that would run out of space while the guest stands still. Where clones share blocks,
// cloned files cost nothing yet. Else they cost their data. To count that exactly means to write it back, so it is done
// only when it decides.
func (s *session) checkRoom(ctx context.Context, staging string, c checkpoint.Record) error {
	need, memory := int64(smallFiles), int64(0)
	if c.Memory && (!c.Packed || s.driver.MemorySource(s.dir) == "") {
		memory = int64(c.Machine.MemMiB) << 20
	}
	_, disk, err := storage.Usage(s.file(vmm.RootfsFile))
	if err != nil {
		return err
	}
	if c.Packed {
		disk = 0
	}
	free, err := storage.Free(staging)
	if err != nil || free >= need+disk+memory { // there is room for copies of all: no question what will be copied
		return err
	}
	reflinks, err := storage.Reflinks(staging)
	if err != nil {
		return err
	}
	reflinks = reflinks || c.Packed // what is packed is written while the guest runs: a full disk fails that alone
	source := s.driver.MemorySource(s.dir)
	cloned := source != ""
	if !reflinks {
		disk, err := storage.DataBytes(ctx, s.file(vmm.RootfsFile))
		if err != nil {
			return err
		}
		need += disk
		if cloned && c.Memory && free < need+memory {
			if memory, err = storage.DataBytes(ctx, source); err != nil {
				return err
			}
		}
	}
	if !reflinks || !cloned {
		need += memory
	}
	if free < need {
		s.dropSpare()
	}
	if free, err = storage.FreeFor(ctx, staging, need); err != nil || free >= need {
		return err
	}
	return errs.New(errs.ErrHost, "no space: up to %d MiB needed, %d MiB free", need>>20, free>>20).
		Hint("make room, or 'noid forget' checkpoints that you no longer need")
}

// interruptWait is how long an interrupted checkpoint tries to have its guest run again before it leaves that to the
// VM's helper.
const interruptWait = 300 * time.Millisecond

const (
	writeBacks = 3                     // at most, before a pause
	calm       = 50 * time.Millisecond // what one takes at most after which the pause may come
)

// standStill fills staging with memory, state, disk and log as of one moment and returns how long a running guest stood
// still. resumed is false when that guest could not be made to run again.
func (s *session) standStill(ctx context.Context, staging string, st State, guarded bool) (downtime time.Duration, resumed bool, err error) {
	resumed = true
	how := vmm.Resume
	if st == Running || st == Paused {
		unlock, err := console.LockInput(ctx, s.dir) // a line on its way to the guest would be cut in two
		if err != nil {
			return 0, true, err
		}
		defer unlock()
		if err := s.writeBack(ctx); err != nil {
			return 0, true, err
		}
	}
	files := []string{vmm.RootfsFile, vmm.SerialLogFile}
	if s.packing != nil {
		files = files[1:]
		if err := s.packing.look(ctx); err != nil {
			return 0, true, err
		}
	}
	if st == Running {
		began := time.Now()
		defer func() {
			if e := s.resumeAfter(ctx, how, guarded); e != nil {
				resumed, err = false, errors.Join(err, fmt.Errorf("resuming: %w", e))
			}
			downtime = time.Since(began)
		}()
		if err := s.driver.Tell(ctx, s.dir, vmm.Pause); err != nil {
			return 0, true, err
		}
	}
	if st == Running || st == Paused {
		if err := s.driver.Snapshot(ctx, s.dir, staging, s.packing == nil); err != nil {
			return 0, true, err
		}
		how = vmm.ResumeSaved
	}
	if s.packing != nil {
		if err := s.packing.hold(ctx); err != nil {
			return 0, true, err
		}
	}
	for _, file := range files {
		if _, err := storage.Clone(ctx, filepath.Join(staging, file), s.file(file)); err != nil {
			return 0, true, err
		}
	}
	return 0, true, nil
}

// writeBack writes back what the snapshot will need on disk. While much is written back the guest writes more, which
// would be written back in the pause: hence several times.
func (s *session) writeBack(ctx context.Context) error {
	var before time.Duration
	for range writeBacks {
		began := time.Now()
		if err := s.driver.WriteBack(ctx, s.dir, s.packing == nil); err != nil {
			return err
		}
		took := time.Since(began)
		if !gains(took, before) {
			break
		}
		before = took
	}
	return nil
}

// gains reports whether to write back once more after one that took so long, and the one before it, if it was not the
// first, before. A guest that keeps writing, or a busy host, makes none any shorter.
func gains(took, before time.Duration) bool {
	return took >= calm && (before == 0 || took <= before/2)
}

// resumeAfter has the guest run again after a snapshot, also when ctx has ended.
func (s *session) resumeAfter(ctx context.Context, how vmm.Command, guarded bool) error {
	wait := cleanupWait
	if ctx.Err() != nil && guarded {
		wait = interruptWait // the user does not wait for a VMM that is busy writing: the helper does
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer cancel()
	return s.driver.Tell(end, s.dir, how)
}
