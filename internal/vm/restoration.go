package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"noid/internal/boot"
	"noid/internal/checkpoint"
	"noid/internal/home"
	"noid/internal/network"
	"noid/internal/proc"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// source is what VMs are restored from: a checkpoint, a capture or a template.
type source struct {
	*Manager
	verb   string
	c      checkpoint.Record
	dir    string // where its files are
	driver vmm.Driver
	net    *network.Config  // the new VM's, or nil
	ports  [][]network.Port // that a clone is to have
	grants []string         // secrets that it is to have
	// sockets are unix sockets that it is to have.
	sockets []network.Socket
	// networks are names of networks between VMs that it is to be on, beside the source's.
	networks []string
	lease    *home.Lease // the new VM's, or nil
	staged   func()      // is called when the files in dir are not needed any more; or nil
	hidden   bool        // the new VM stays in the staging area
}

// restoration makes one running VM of a source. Its steps are startBackup, load, resume, awaitBackup, beginTelling,
// swap and finish. When one fails, the staging directory with its VMM is removed, and a backup that was made.
type restoration struct {
	source
	new      *session // the VM that is made; its directory is aside until swap
	aside    string   // that directory, where the replaced VM lies afterwards
	replaces *home.VM // the VM that it takes the place of, or nil
	// backup keeps the old VM's state meanwhile and returns the checkpoint's id. Nil: there is nothing to keep.
	backup   func(ctx context.Context) (id string, err error)
	backedUp chan error // backup's end
	kept     string     // what backup returned, when it has ended
	told     chan error // beginTelling's end; nil when the guest cannot be told yet
	undo     []func()   // newest last
}

// restoration begins one whose VM is v. v holds what the source does not say; the rest is filled in here.
func (s source) restoration(v home.VM) *restoration {
	c := s.c
	v.Machine, v.SourceKernel, v.SourceRootfs, v.Boots, v.AgentVersion = c.Machine, c.SourceKernel, c.SourceRootfs, c.Boots, c.AgentVersion
	v.SourceBase, v.Image, v.Base = c.SourceBase, c.Image, nil
	if base, ok := c.Files[vmm.BaseFile]; ok {
		v.Base = &base
	}
	if v.CreatedAt.IsZero() {
		v.CreatedAt = time.Now().UTC()
	}
	aside := s.Home.StagingDir(v.Name)
	return &restoration{source: s, aside: aside, new: &session{Manager: s.Manager, vm: v, verb: s.verb, dir: aside, driver: s.driver, net: s.net, lease: s.lease, hidden: s.hidden}}
}

// run takes all the steps. The locks of the source and of the new VM's name are held.
func (r *restoration) run(ctx context.Context) (made *session, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		if err != nil {
			cancel()
			for _, undo := range slices.Backward(r.undo) {
				undo()
			}
		}
	}()
	r.startBackup(ctx)
	for _, step := range []func(context.Context) error{r.load, r.resume, r.awaitBackup, r.beginTelling, r.swap} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	r.finish(ctx)
	return r.new, nil
}

// startBackup has the old VM's state kept while the new VMM loads.
func (r *restoration) startBackup(ctx context.Context) {
	r.undo = append(r.undo, func() { removeStaged(ctx, r.new.vm.Process, r.aside) })
	r.backedUp = make(chan error, 1)
	if r.backup == nil {
		r.backedUp <- nil
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		r.kept, err = r.backup(ctx)
		r.backedUp <- err
	}()
	r.undo = append(r.undo, func() {
		if <-done; r.kept != "" {
			r.removeCheckpoints(r.new.vm.Name, r.kept)
		}
	})
}

// load makes the new VM's directory and starts its VMM. What has memory stays paused.
func (r *restoration) load(ctx context.Context) (err error) {
	n := r.new
	if err := r.stage(ctx); err != nil {
		return err
	}
	if r.staged != nil {
		for _, path := range []string{n.vm.Machine.KernelPath, n.vm.Machine.InitrdPath} {
			boot.Use(path) // so that no prune takes it before the VM is recorded
		}
		r.staged()
	}
	if !r.c.Memory {
		n.vm.Process, err = r.driver.Start(ctx, n.dir, &n.vm.Machine)
		return err
	}
	n.vm.Process, err = r.driver.Load(ctx, n.dir, &n.vm.Machine, vmm.Saved{GuestUp: r.c.AgentReady, OwnMemory: r.c.Packed, Touched: r.touched()})
	if err != nil {
		return r.explainLoad(ctx, err)
	}
	return nil
}

// stage makes the new VM's directory of the source's files.
func (r *restoration) stage(ctx context.Context) error {
	n := r.new
	base := ""
	if r.c.Machine.Base {
		base = filepath.Join(r.dir, vmm.BaseFile)
	}
	rootfs := filepath.Join(r.dir, vmm.RootfsFile)
	if r.c.Packed {
		rootfs = ""
	}
	if err := stage(ctx, n.dir, rootfs, base); err != nil {
		return err
	}
	for _, name := range r.c.Contents() {
		if !r.c.InPack(name) {
			continue
		}
		shared := name == vmm.MemorySnap && !r.driver.Traits().MemoryFile
		if shared && r.c.LinkWhole(r.dir, n.file(name)) {
			continue
		}
		if err := r.c.Fill(ctx, r.dir, name, n.file(name)); err != nil {
			return err
		}
		if shared {
			r.c.KeepWhole(r.dir, n.file(name))
		}
	}
	if err := n.saveNet(ctx); err != nil {
		return err
	}
	if _, err := storage.Clone(ctx, n.file(vmm.SerialLogFile), filepath.Join(r.dir, vmm.SerialLogFile)); err != nil {
		return err
	}
	if r.replaces != nil {
		old := r.Home.VMDir(n.vm.Name)
		if err := home.PassLease(old, n.dir); err != nil {
			return err
		}
		// The very file: whoever follows it goes on, and what it was refused the VM does not lose.
		if err := linkOrClone(ctx, n.netFile(network.LogFile), network.HelperFile(old, network.LogFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if !r.c.Memory {
		return nil
	}
	if r.c.Machine.Net && n.net != nil {
		if flows := filepath.Join(r.dir, network.FlowsFile); exists(flows) {
			if _, err := storage.Clone(ctx, n.netFile(network.FlowsFile), flows); err != nil {
				return err
			}
		}
		if err := network.RestoreNames(n.dir, r.dir, r.c.CreatedAt); err != nil {
			return err
		}
	}
	for _, file := range []string{vmm.MemorySnap, vmm.StateSnap} {
		if r.c.InPack(file) {
			continue
		}
		// The very inode of the checkpoint: clones share its page cache, and it outlives 'noid forget'.
		if err := linkOrClone(ctx, n.file(file), filepath.Join(r.dir, file)); err != nil {
			return err
		}
	}
	return nil
}

// resume has the new guest run, and writes its record meanwhile.
func (r *restoration) resume(ctx context.Context) error {
	n := r.new
	if n.vm.RestoredFrom == "" && r.c.Parent != "" { // a fork's first checkpoint shares most with its source's last
		if err := noteLast(n.dir, r.c.Parent); err != nil {
			return err
		}
	}
	r.noteRestored()
	n.startHelper(n.vm.Process) // it stays in the directory when that is renamed
	saved := make(chan error, 1)
	go func() { saved <- n.save() }()
	if r.replaces != nil {
		p := n.vm.Process
		if !r.c.Memory { // it boots: it is not as the checkpoint has it
			p = proc.Process{}
		}
		markUntouched(n.dir, p)
	}
	var err error
	if r.c.Memory {
		err = r.driver.Tell(ctx, n.dir, vmm.ResumeSaved)
	}
	saveErr := <-saved
	return cmp.Or(err, saveErr)
}

// awaitBackup waits until the old VM's state is kept: so far the guest has talked to nobody.
func (r *restoration) awaitBackup(context.Context) error { return <-r.backedUp }

// beginTelling begins to tell the guest that it was restored. It goes on while the directories are swapped.
func (r *restoration) beginTelling(ctx context.Context) error {
	if !r.c.AgentReady || r.new.vm.Unannounced == nil {
		return nil
	}
	here, err := os.Open(r.new.dir) // by this name another VM may go soon
	if err != nil {
		return err
	}
	r.told = make(chan error, 1)
	told := *r.new
	go func() {
		defer here.Close()
		r.told <- told.tellGuest(ctx, fmt.Sprintf("/proc/self/fd/%d", here.Fd()))
	}()
	r.undo = append(r.undo, func() { <-r.told })
	return nil
}

// swap gives the new VM its name. The old one lies in the staging area then.
func (r *restoration) swap(context.Context) error {
	for _, file := range []string{vmm.MemorySnap, vmm.StateSnap} { // the VMM has them open or no longer needs them
		os.Remove(r.new.file(file))
	}
	if r.hidden {
		return nil
	}
	if r.replaces == nil {
		return r.new.publish()
	}
	dir := r.Home.VMDir(r.new.vm.Name)
	if err := storage.Exchange(r.new.dir, dir); err != nil {
		return err
	}
	r.new.dir = dir
	return nil
}

// finish removes the replaced VM and the oldest backups, and notes that the guest was told. It cannot fail any more: it
// warns.
func (r *restoration) finish(ctx context.Context) {
	var removed sync.WaitGroup
	if r.replaces != nil {
		removed.Go(func() {
			if err := removeStaged(ctx, r.replaces.Process, r.aside); err != nil {
				r.warn("removing the old vm: " + err.Error())
			}
		})
		if r.new.vm.Before != "" { // one more
			removed.Go(func() { r.boundBackups(ctx) })
		}
	}
	if r.told != nil {
		err := <-r.told
		if err == nil {
			r.new.vm.Unannounced = nil
			err = r.new.save()
		}
		r.new.warnUntold(err)
	}
	removed.Wait()
	r.new.awaitListening(ctx, r.new.net) // until now the replaced VM's helper may have had the ports
}
