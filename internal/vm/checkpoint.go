package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/console"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/manifest"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// Checkpoint keeps memory, CPU and disk of a running or paused VM. A running VM runs on afterwards, whatever failed.
func (m *Manager) Checkpoint(ctx context.Context, name, label string) (checkpoint.Record, error) {
	v, d, lock, err := m.open(ctx, name, "checkpoint")
	if err != nil {
		return checkpoint.Record{}, err
	}
	defer lock.Unlock()
	st := certain(ctx, d, m.Home.VMDir(name), v)
	if st != vmm.Running && st != vmm.Paused {
		return checkpoint.Record{}, notRunning(name, st, "checkpoint")
	}
	c, err := m.checkpoint(ctx, d, v, st, label)
	return c, ended(v, err)
}

// checkpoint does the work for Checkpoint and for the backup before a restore; the lock is held. Of a VM that does not run
// it keeps the disk alone.
func (m *Manager) checkpoint(ctx context.Context, d Driver, v home.VM, st vmm.State, label string) (c checkpoint.Record, err error) {
	c, staging, err := m.take(ctx, d, v, st, label)
	if err == nil {
		err = m.keep(ctx, staging, &c)
	}
	if err != nil {
		m.discard(v.Name, staging)
		return c, fmt.Errorf("checkpoint of vm %q: %w", v.Name, err)
	}
	noteLast(m.Home.VMDir(v.Name), c.VM+"@"+c.ID)
	return c, nil
}

// lastFile is a link in a VM's directory whose target names the checkpoint, "vm@id", that was made of it last. It says with what
// the next one shares most, so that losing it costs time alone.
const lastFile = "checkpoint.last"

// last returns the checkpoint that v, in dir, has most in common with.
func last(dir string, v home.VM) string {
	ref, _ := os.Readlink(filepath.Join(dir, lastFile))
	return cmp.Or(ref, v.RestoredFrom)
}

func noteLast(dir, ref string) {
	os.Remove(filepath.Join(dir, lastFile))
	os.Symlink(ref, filepath.Join(dir, lastFile))
}

// take captures v in a staging directory: it can be loaded from there, and lacks what keep adds. The caller keeps or discards
// it, when this fails too.
func (m *Manager) take(ctx context.Context, d Driver, v home.VM, st vmm.State, label string) (c checkpoint.Record, staging string, err error) {
	dir, staging := m.Home.VMDir(v.Name), m.Home.StagingCheckpointDir(v.Name)
	if err := os.Mkdir(staging, 0o700); err != nil {
		return c, staging, err
	}
	if err := os.MkdirAll(m.Home.CheckpointsDir(v.Name), 0o700); err != nil {
		return c, staging, err
	}
	c = checkpoint.Record{VM: v.Name, Label: label, CreatedAt: time.Now().UTC(), Parent: last(dir, v), Machine: v.Machine,
		Memory: st == vmm.Running || st == vmm.Paused, NoidVersion: m.Version, SourceKernel: v.SourceKernel, SourceRootfs: v.SourceRootfs,
		Boots: v.Boots, AgentVersion: v.AgentVersion}
	if c.Memory && d.UsesHostCPU(v.Machine) {
		if c.Host, err = checkpoint.ThisHost(); err != nil {
			return c, staging, err
		}
	}
	c.ID = home.NewID(func(id string) bool { _, err := os.Lstat(m.Home.CheckpointDir(v.Name, id)); return err == nil })
	if err := m.room(ctx, d, staging, dir, c); err != nil {
		return c, staging, err
	}
	c.AgentReady = v.Frozen
	if st == vmm.Running {
		if c.AgentReady = m.freeze(ctx, v); c.AgentReady {
			defer m.thaw(ctx, v, false)
		}
	}
	paused := func(bool) {}
	if st == vmm.Running {
		if paused, err = m.insure(v); err != nil {
			return c, staging, err
		}
	}
	downtime, resumed, err := m.capture(ctx, d, dir, staging, st)
	paused(resumed)
	c.DowntimeMs = float64(downtime.Microseconds()) / 1000
	return c, staging, err
}

// discard removes what take has made of name.
func (m *Manager) discard(name, staging string) {
	os.Remove(m.Home.CheckpointsDir(name)) // only when this was the first
	storage.RemoveAll(staging)             // last: Sweep looks after what has a staging directory
}

// smallFiles is room for the device state, the console's log, sums and manifest, in bytes.
const smallFiles = 32 << 20

// room refuses a checkpoint that would run out of space while the guest stands still. Where clones share blocks, cloned files
// cost nothing yet; else they cost their data, which is counted exactly only when it matters: that means writing it back.
func (m *Manager) room(ctx context.Context, d Driver, staging, dir string, c checkpoint.Record) error {
	reflinks, err := storage.Reflinks(staging)
	if err != nil {
		return err
	}
	free, err := storage.Free(staging)
	if err != nil {
		return err
	}
	need, memory := int64(smallFiles), int64(0)
	if c.Memory {
		memory = int64(c.Machine.MemMiB) << 20
	}
	source := d.MemorySource(dir)
	cloned := source != ""
	if !reflinks {
		disk, err := storage.DataBytes(ctx, filepath.Join(dir, vmm.RootfsFile))
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
	if free < need && len(m.Home.Templates()) > 0 { // they are for speed alone
		m.DropTemplates()
	}
	if free, err = storage.FreeFor(ctx, staging, need); err != nil || free >= need {
		return err
	}
	return errs.New(errs.ErrHost, "no space: up to %d MiB needed, %d MiB free", need>>20, free>>20).Hint("make room, or 'noid forget' checkpoints that you no longer need")
}

// interruptWait is how long an interrupted checkpoint tries to have its guest run again before it leaves that to the guard.
const interruptWait = 300 * time.Millisecond

const (
	writeBacks = 3                     // at most, before a pause
	calm       = 50 * time.Millisecond // what one takes at most after which the pause may come
)

// capture fills staging with memory, state, disk and log as of one moment and returns how long a running guest stood still.
// resumed is false when that guest could not be made to run again.
func (m *Manager) capture(ctx context.Context, d Driver, dir, staging string, st vmm.State) (downtime time.Duration, resumed bool, err error) {
	resumed = true
	if st == vmm.Running || st == vmm.Paused {
		unlock, err := console.LockInput(ctx, dir) // a line on its way to the guest would be cut in two
		if err != nil {
			return 0, true, err
		}
		defer unlock()
		// While much is written back the guest writes more, which would be written back in the pause.
		for range writeBacks {
			began := time.Now()
			if err := d.WriteBack(ctx, dir); err != nil {
				return 0, true, err
			}
			if time.Since(began) < calm {
				break
			}
		}
	}
	if st == vmm.Running {
		began := time.Now()
		defer func() {
			wait := settleWait
			if ctx.Err() != nil && len(m.PauseGuard) > 0 {
				wait = interruptWait // the user does not wait for a VMM that is busy writing: the guard does
			}
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
			defer cancel()
			if e := d.Tell(end, dir, vmm.Resume); e != nil {
				resumed, err = false, errors.Join(err, fmt.Errorf("resuming: %w", e))
			}
			downtime = time.Since(began)
		}()
		if err := d.Tell(ctx, dir, vmm.Pause); err != nil {
			return 0, true, err
		}
	}
	if st == vmm.Running || st == vmm.Paused {
		if err := d.Snapshot(ctx, dir, staging); err != nil {
			return 0, true, err
		}
	}
	for _, file := range []string{vmm.RootfsFile, vmm.SerialLogFile} {
		if _, err := storage.Clone(ctx, filepath.Join(staging, file), filepath.Join(dir, file)); err != nil {
			return 0, true, err
		}
	}
	return 0, true, nil
}

// keep records sizes and sums, makes the files read-only and publishes the checkpoint. The guest runs again.
func (m *Manager) keep(ctx context.Context, staging string, c *checkpoint.Record) error {
	c.Files = map[string]manifest.File{}
	var sums []byte
	parent := m.parent(*c)
	for _, name := range c.FileNames() {
		path := filepath.Join(staging, name)
		if err := seal(ctx, path); err != nil {
			return err
		}
		hash, err := m.hashLike(ctx, path, parent, name)
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		c.Files[name] = manifest.FileOf(info, hash)
		for _, chunk := range hash.Chunks {
			sums = append(sums, chunk[:]...)
		}
		_, onDisk, err := storage.Usage(path)
		if err != nil {
			return err
		}
		switch name {
		case vmm.RootfsFile:
			c.DiskLength, c.DiskBytes = hash.Length, onDisk
		case vmm.MemorySnap:
			c.MemoryLength, c.MemoryBytes = hash.Length, onDisk
		case vmm.StateSnap:
			c.StateLength, c.StateBytes = hash.Length, onDisk
		}
	}
	like := filepath.Join(m.Home.CheckpointDir(parent.VM, parent.ID), checkpoint.SumsFile)
	if err := storage.WriteLike(ctx, filepath.Join(staging, checkpoint.SumsFile), like, sums); err != nil {
		return err
	}
	if err := checkpoint.Write(staging, *c); err != nil {
		return err
	}
	return storage.Publish(ctx, staging, m.Home.CheckpointDir(c.VM, c.ID))
}

// seal makes a checkpoint's file read-only and has it on disk: what it takes there is known only then.
func seal(ctx context.Context, path string) error {
	if err := os.Chmod(path, 0o400); err != nil {
		return err
	}
	return storage.SyncFile(ctx, path)
}

// parent returns the checkpoint that c shares most with, the zero one when it is gone.
func (m *Manager) parent(c checkpoint.Record) checkpoint.Record {
	name, id, _ := strings.Cut(c.Parent, "@")
	parent, err := m.Home.LoadCheckpoint(name, id)
	if err != nil {
		return checkpoint.Record{}
	}
	return parent
}

// hashLike hashes the file path of a new checkpoint, and reads only what it does not share with parent's file name.
func (m *Manager) hashLike(ctx context.Context, path string, parent checkpoint.Record, name string) (storage.Hash, error) {
	if _, ok := parent.Files[name]; ok {
		if sums, err := parent.SavedSums(m.Home.CheckpointDir(parent.VM, parent.ID), name); err == nil {
			return storage.HashLike(ctx, path, filepath.Join(m.Home.CheckpointDir(parent.VM, parent.ID), name), sums)
		}
	}
	return storage.HashFile(ctx, path)
}

// Checkpoints lists the checkpoints of a VM, which may be gone.
func (m *Manager) Checkpoints(ctx context.Context, name string) ([]home.CheckpointEntry, error) {
	if err := home.CheckName(name); err != nil {
		return nil, err
	}
	return m.Home.ListCheckpoints(ctx, name)
}

// Forget deletes checkpoints. All refs are looked up before the first is deleted.
func (m *Manager) Forget(ctx context.Context, name string, refs []string) error {
	if err := home.CheckName(name); err != nil {
		return err
	}
	lock, err := m.Home.Lock(ctx, name, "forget")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	var ids []string
	for _, ref := range refs {
		c, err := m.Home.FindCheckpoint(ctx, name, ref)
		if _, broken := errors.AsType[*manifest.BrokenError](err); broken && c.ID == "" {
			c.ID = ref
		} else if err != nil {
			return err
		}
		ids = append(ids, c.ID)
	}
	for _, id := range ids {
		if err := m.remove(name, id); err != nil && !missing(err) {
			return err
		}
	}
	m.prune(ctx)
	return nil
}

// remove takes a checkpoint out of the listing by one rename and then deletes it. VMMs that map its memory keep the inode.
func (m *Manager) remove(name, id string) error {
	old := m.Home.OldCheckpointDir(name)
	if err := os.Rename(m.Home.CheckpointDir(name, id), old); err != nil {
		return err
	}
	err := storage.SyncDir(m.Home.CheckpointsDir(name))
	os.Remove(m.Home.CheckpointsDir(name)) // when it was the last
	return errors.Join(err, storage.RemoveAll(old))
}
