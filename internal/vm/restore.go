package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/manifest"
	"noid/internal/proc"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// keepBackups is how many automatic checkpoints from before restores a VM keeps.
const keepBackups = 3

// backupLabel marks those checkpoints.
const backupLabel = "before restore to "

// RestoreOptions say what Restore does: As empty for in place; Backup keeps the present as a checkpoint first.
type RestoreOptions struct {
	As           string
	Backup       bool
	KeepIdentity bool // a clone stays its source's twin
}

// Restore makes a running VM from a checkpoint. In place, the old VM runs until the new one does, and runs on if that fails.
func (m *Manager) Restore(ctx context.Context, name, ref string, o RestoreOptions) error {
	c, d, lock, err := m.find(ctx, name, ref, "restore")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	from := m.Home.CheckpointDir(c.VM, c.ID)
	if o.As != "" {
		err = m.clone(ctx, d, c, from, home.VM{Name: o.As, RestoredFrom: c.VM + "@" + c.ID}, o.KeepIdentity)
	} else {
		err = m.rewind(ctx, d, c, from, o.Backup)
	}
	if err != nil && !errors.Is(err, errs.ErrExists) {
		err = fmt.Errorf("restoring %s@%s: %w", c.VM, c.ID, err)
	}
	return err
}

// find locks name and returns its checkpoint ref, if it is whole and can be loaded here.
func (m *Manager) find(ctx context.Context, name, ref, verb string) (c checkpoint.Record, d Driver, lock *home.Lock, err error) {
	if err := home.CheckName(name); err != nil {
		return c, nil, nil, err
	}
	if lock, err = m.Home.Lock(ctx, name, verb); err != nil {
		return c, nil, nil, err
	}
	defer func() {
		if err != nil {
			lock.Unlock()
		}
	}()
	if c, err = m.Home.FindCheckpoint(ctx, name, ref); err != nil {
		return c, nil, nil, err
	}
	if err := c.Check(ctx, m.Home.CheckpointDir(c.VM, c.ID), false, nil); err != nil {
		return c, nil, nil, err
	}
	c.Boots = m.rehome(&c.Machine, c.Boots)
	if d, err = m.Driver(c.Machine.Driver); err == nil {
		err = m.loadable(ctx, d, c)
	}
	return c, d, lock, err
}

// rewind puts the VM of c back to it, whose files are in from. The lock is held.
func (m *Manager) rewind(ctx context.Context, d Driver, c checkpoint.Record, from string, backup bool) error {
	old, err := m.load(c.VM)
	exists := !errors.Is(err, errs.ErrNotFound)
	if _, broken := errors.AsType[*manifest.BrokenError](err); err != nil && exists && !broken {
		return err
	}
	keep := nothing
	if exists && backup && err == nil {
		keep = func(ctx context.Context) (func(), error) { return m.backup(ctx, old, c) }
	}
	v := home.VM{Name: c.VM, RestoredFrom: c.VM + "@" + c.ID, CreatedAt: old.CreatedAt}
	if c.Memory && c.Machine.Agent {
		v.Unannounced = &home.Announcement{Event: "restore"}
		if old.Unannounced != nil { // a clone that was not told who it is, say
			v.Unannounced.Identity = old.Unannounced.Identity
		}
	}
	return m.revive(ctx, d, c, from, &v, old, exists, keep)
}

// clone makes v, which has a new name and nothing more than what the caller knows, of c, whose files are in from.
func (m *Manager) clone(ctx context.Context, d Driver, c checkpoint.Record, from string, v home.VM, keepIdentity bool) error {
	if err := m.free(v.Name); err != nil {
		return err
	}
	lock, err := m.Home.Lock(ctx, v.Name, "restore")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := m.free(v.Name); err != nil {
		return err
	}
	if c.Memory && c.Machine.Agent {
		v.Unannounced = &home.Announcement{Event: "clone", Identity: !keepIdentity}
	}
	return m.revive(ctx, d, c, from, &v, home.VM{}, false, nothing)
}

// free refuses a name that a VM has, or that no VM can have.
func (m *Manager) free(name string) error {
	if err := home.CheckName(name); err != nil {
		return err
	}
	if _, err := os.Lstat(m.Home.VMDir(name)); err == nil {
		return errs.New(errs.ErrExists, "vm %q already exists", name).Hint("choose another name, or 'noid destroy " + name + "' first")
	}
	return nil
}

// backup keeps the present of v as a checkpoint before c is restored. undo forgets that again.
func (m *Manager) backup(ctx context.Context, v home.VM, c checkpoint.Record) (undo func(), err error) {
	ran := v.Process.Alive()
	d, err := m.Driver(v.Machine.Driver)
	if err != nil {
		return nil, err
	}
	kept, err := m.checkpoint(ctx, d, v, certain(ctx, d, m.Home.VMDir(v.Name), v), backupLabel+c.ID)
	if err == nil {
		return func() { m.remove(v.Name, kept.ID) }, nil
	}
	err = errs.WithHint(err, "--no-backup restores without keeping the present")
	if ran {
		err = ended(v, err)
	}
	return nil, fmt.Errorf("keeping the present state: %w", err)
}

// boundBackups forgets the oldest automatic checkpoints of c's VM beyond keepBackups, but never c.
func (m *Manager) boundBackups(ctx context.Context, c checkpoint.Record) {
	list, err := m.Home.CheckpointLabels(ctx, c.VM)
	seen := 0
	for i := len(list) - 1; i >= 0 && err == nil; i-- {
		if l := list[i]; l.Err == nil && len(l.Label) > len(backupLabel) && l.Label[:len(backupLabel)] == backupLabel && l.ID != c.ID {
			if seen++; seen > keepBackups {
				err = m.remove(c.VM, l.ID)
			}
		}
	}
	if err != nil {
		m.warn("forgetting old checkpoints from before restores: " + err.Error())
	}
}

// nothing is a keep of revive for what has no present.
func nothing(context.Context) (undo func(), err error) { return func() {}, nil }

// revive starts v, of which no more is known than what c does not tell, from c, whose files are in from: in a directory
// aside, which is put in its place once the guest runs. keep keeps the present meanwhile, and gives back what undoes that when
// the VMM refuses c. The old VM runs on until the new one stands.
func (m *Manager) revive(ctx context.Context, d Driver, c checkpoint.Record, from string, v *home.VM, old home.VM, exists bool, keep func(context.Context) (undo func(), err error)) (err error) {
	staging, dir := m.Home.StagingDir(v.Name), m.Home.VMDir(v.Name)
	v.Machine, v.SourceKernel, v.SourceRootfs, v.Boots, v.AgentVersion = c.Machine, c.SourceKernel, c.SourceRootfs, c.Boots, c.AgentVersion
	if v.CreatedAt.IsZero() {
		v.CreatedAt = time.Now().UTC()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var kept sync.WaitGroup
	var undo func()
	var keepErr error
	defer func() {
		if err != nil {
			cancel()
			kept.Wait()
			if undo != nil {
				undo()
			}
			abandon(ctx, v.Process, staging)
		}
	}()
	kept.Go(func() { undo, keepErr = keep(ctx) })
	if err := m.unfold(ctx, d, c, from, staging, v); err != nil {
		return err
	}
	if v.RestoredFrom == "" && c.Parent != "" { // a fork's first checkpoint shares most with its source's last
		noteLast(staging, c.Parent)
	}
	m.help(d, staging, v.Process) // it stays in the directory when that is renamed
	var saved sync.WaitGroup
	var saveErr error
	saved.Go(func() { saveErr = m.Home.SaveVM(staging, *v) })
	if c.Memory {
		err = d.Tell(ctx, staging, vmm.Resume)
	}
	if saved.Wait(); err != nil || saveErr != nil {
		return cmp.Or(err, saveErr)
	}
	if kept.Wait(); keepErr != nil { // until now the guest has talked to nobody
		return keepErr
	}
	told := make(chan error, 1)
	if c.AgentReady {
		here, openErr := os.Open(staging) // by this name another VM may go soon
		if openErr != nil {
			return openErr
		}
		defer here.Close()
		go func() { told <- m.tell(ctx, *v, fmt.Sprintf("/proc/self/fd/%d", here.Fd())) }()
		defer func() {
			if err != nil {
				cancel()
				<-told
			}
		}()
	}
	for _, file := range []string{vmm.MemorySnap, vmm.StateSnap} { // the VMM has them open or no longer needs them
		os.Remove(filepath.Join(staging, file))
	}
	var burial sync.WaitGroup
	defer burial.Wait()
	if exists {
		if err := storage.Exchange(staging, dir); err != nil {
			return err
		}
		burial.Go(func() { m.bury(ctx, staging, old) })
		burial.Go(func() { m.boundBackups(ctx, c) })
	} else if err := publish(staging, dir); err != nil {
		return err
	}
	if c.AgentReady {
		err := <-told
		if err == nil {
			v.Unannounced = nil
			err = m.Home.SaveVM(dir, *v)
		}
		m.notTold(v.Name, err)
	}
	return nil
}

// unfold makes the directory staging of c, whose files are in from, and starts v there. What has memory stays paused.
func (m *Manager) unfold(ctx context.Context, d Driver, c checkpoint.Record, from, staging string, v *home.VM) (err error) {
	if err := m.stage(ctx, staging, filepath.Join(from, vmm.RootfsFile)); err != nil {
		return err
	}
	if _, err := storage.Clone(ctx, filepath.Join(staging, vmm.SerialLogFile), filepath.Join(from, vmm.SerialLogFile)); err != nil {
		return err
	}
	if !c.Memory {
		v.Process, err = d.Start(ctx, staging, &v.Machine)
		return err
	}
	for _, file := range []string{vmm.MemorySnap, vmm.StateSnap} {
		// The very inode of the checkpoint: clones share its page cache, and it outlives 'noid forget'.
		if err := hardLink(ctx, filepath.Join(staging, file), filepath.Join(from, file)); err != nil {
			return err
		}
	}
	if v.Process, err = d.Load(ctx, staging, &v.Machine, vmm.Saved{GuestUp: c.AgentReady}); err != nil {
		return notLoaded(ctx, d, c, err)
	}
	return nil
}

// bury abandons the old VM, whose place another has.
func (m *Manager) bury(ctx context.Context, dir string, old home.VM) {
	if err := abandon(ctx, old.Process, dir); err != nil {
		m.warn("removing the old vm: " + err.Error())
	}
}

// abandon ends p, or what else runs in dir where p does not live, and removes dir, a directory in the staging area. A process that
// cannot be ended keeps its directory: there Sweep finds it at the next command.
func abandon(ctx context.Context, p proc.Process, dir string) error {
	end, cancel := settle(ctx)
	defer cancel()
	var err error
	if p.Alive() {
		err = p.Kill(end)
	} else {
		err = killStray(end, dir)
	}
	if err != nil {
		return err
	}
	return storage.RemoveAll(dir)
}

func hardLink(ctx context.Context, dst, src string) error {
	err := os.Link(src, dst)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EPERM) {
		_, err = storage.Clone(ctx, dst, src)
	}
	return err
}
