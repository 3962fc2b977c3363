package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"noid/internal/boot"
	"noid/internal/checkpoint"
	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/helper"
	"noid/internal/home"
	"noid/internal/image"
	"noid/internal/kernels"
	"noid/internal/network"
	"noid/internal/proc"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// The size of a VM when neither its options nor the configuration say it. What a guest of an image does not touch of
// its memory and its disk costs nothing.
const (
	defaultCPUs        = 1
	defaultMemMiB      = 128
	defaultImageMemMiB = 1024
	defaultDiskMiB     = 8192 // of one made from an image
)

// CreateOptions say what Create makes. What is empty or 0 comes from the configuration, then from noid's defaults.
type CreateOptions struct {
	Name, Driver   string
	Kernel, Rootfs string // paths; Kernel may be the name of one that the home keeps
	BootArgs       string // appended to the configuration's
	CPUs, MemMiB   int
	// Base is the path of an image's base, of which the VM is made instead of Rootfs, and Image what is known of it.
	Base  string
	Image *image.Image
	// DiskMiB is the size of the VM's own disk. 0 is, with a root file system, that one's.
	DiskMiB int
	Flat    bool // one disk with a copy of the base in it: for kernels without overlayfs
	NoAgent bool // leave noid's agent out of the guest
	Cold    bool // boot it, whatever template there is
	// Wait is how long Create waits for the guest to run commands, errs.ErrTimeout then. 0 returns while it boots. If
	// ctx ends meanwhile, the VM runs on.
	Wait  time.Duration
	Net   NetOptions
	Auto  string      // when checkpoints are made by themselves, as config.ParseAuto takes it; "" is the configuration's
	Note  Note        // kept with the VM
	lease *home.Lease // Run's
}

// Create makes a VM and starts it. A Create that fails before the guest runs leaves nothing.
func (m *Manager) Create(ctx context.Context, o CreateOptions) error {
	s, err := m.create(ctx, o)
	if err != nil {
		return err
	}
	defer func() { s.line.Close() }()
	m.warnEmulated(s.driver.Name())
	if o.Wait == 0 {
		return nil
	}
	// The lock is free meanwhile: a guest that hangs must not keep anybody from 'noid destroy'.
	if err = s.ready(ctx, o.Wait); err == nil {
		err = s.announce(ctx)
	}
	if ctx.Err() != nil {
		err = errs.WithHint(err, fmt.Sprintf("vm %q runs on; 'noid destroy %s' removes it", o.Name, o.Name))
	}
	return err
}

// create is Create without the wait. A VM whose network nobody asked for gets none where this host cannot.
func (m *Manager) create(ctx context.Context, o CreateOptions) (*session, error) {
	s, err := m.createAs(ctx, o)
	if err == nil && s.vm.Machine.NetPair {
		if cannot := m.Drivers.CanNetwork(); cannot != nil {
			m.warn(fmt.Sprintf("the network of vm %q is slower than it could be: %v: %s", o.Name, cannot, errs.Hint(cannot)))
		}
	}
	if err == nil || !errors.Is(err, errs.ErrHost) || ctx.Err() != nil {
		return s, err
	}
	cannot := m.Drivers.CanNetwork()
	switch {
	case cannot == nil:
		return nil, err
	case !m.netByDefault(o.Net):
		return nil, errs.WithHint(err, errs.Hint(err)+", or do without a network: --net none")
	}
	m.warn(fmt.Sprintf("vm %q gets no network: %v: %s", o.Name, cannot, errs.Hint(cannot)))
	o.Net.Network = string(network.None)
	return m.createAs(ctx, o)
}

func (m *Manager) createAs(ctx context.Context, o CreateOptions) (*session, error) {
	for _, warning := range m.Config.Ignored {
		m.warn(warning)
	}
	if err := m.Home.Make(); err != nil {
		return nil, err
	}
	if err := m.beginFilling(ctx, "create"); err != nil {
		return nil, err
	}
	lock, err := m.lockNew(ctx, o.Name, "create")
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	s, err := m.newVM(ctx, &o)
	if err != nil {
		return nil, err
	}
	var release func()
	if s.net.Ports, release, err = network.Reserve(ctx, o.Net.Ports); err != nil {
		return nil, err
	}
	defer release()
	if s.vm.Machine.Agent {
		s.vm.AgentVersion, s.vm.Unannounced = m.Version, &home.Announcement{Event: "create", Identity: true}
	}
	if !o.Cold && m.Config.Warm != "off" && s.vm.Machine.Agent {
		key, err := s.templateKey()
		if err != nil {
			return nil, err
		}
		if warm := s.fromTemplate(ctx, key); warm != nil {
			return warm, nil
		}
		s.vm.Unannounced.Template = key
	}
	if s.vm.Boots, err = checkpoint.HashBootFiles(ctx, s.vm.Machine); err != nil {
		return nil, err
	}
	err = s.makeDisks(ctx)
	if err == nil {
		err = s.saveNet(ctx)
	}
	if err == nil {
		err = s.boot(ctx) // before it has its name: whoever sees the VM sees it running
	}
	if err == nil {
		err = s.publish()
	}
	if err != nil {
		removeStaged(ctx, s.vm.Process, s.dir)
		return nil, s.errorf("creating", err)
	}
	s.awaitListening(ctx, s.net)
	return s, nil
}

// newVM fills in o and returns the VM that it describes, without its ports, in a staging directory that is not made yet.
func (m *Manager) newVM(ctx context.Context, o *CreateOptions) (*session, error) {
	c := m.Config
	name, err := m.ChooseDriver(ctx, o.Driver)
	if err != nil {
		return nil, err
	}
	d, err := m.Drivers.Driver(name)
	if err != nil {
		return nil, err
	}
	o.Kernel = kernels.Path(m.Home.KernelsDir(), o.Kernel)
	if err := choosePath(&o.Kernel, c.Kernel, "kernel"); err != nil {
		return nil, err
	}
	memMiB := defaultMemMiB
	if o.Base != "" {
		o.DiskMiB, memMiB = cmp.Or(o.DiskMiB, c.DiskMiB, defaultDiskMiB), defaultImageMemMiB
	} else if err := choosePath(&o.Rootfs, c.Rootfs, "rootfs"); err != nil {
		return nil, err
	}
	if err := m.checkDriver(name, o.Kernel); err != nil {
		return nil, err
	}
	if err := checkSource(o); err != nil {
		return nil, err
	}
	auto, err := m.autoOf(o.Auto, o.lease)
	if err != nil {
		return nil, err
	}
	net, err := m.network(o.Net)
	if err != nil {
		return nil, err
	}
	machine := vmm.Machine{Driver: name, CPUs: cmp.Or(o.CPUs, c.CPUs, defaultCPUs), MemMiB: cmp.Or(o.MemMiB, c.MemMiB, memMiB),
		BootArgs: joinArgs(c.BootArgs, o.BootArgs), Agent: !o.NoAgent, Base: o.Base != "" && !o.Flat, DiskMiB: o.DiskMiB,
		Net: net.Mode != network.None || len(net.Networks) > 0}
	if err := config.CheckMachine(machine.CPUs, machine.MemMiB, machine.BootArgs); err != nil {
		return nil, err
	}
	if machine.KernelPath, machine.InitrdPath, err = boot.Files(ctx, m.Home.KernelsDir(), o.Kernel, d.Traits().ELFOnly, machine.Agent); err != nil {
		return nil, err
	}
	v := home.VM{Name: o.Name, CreatedAt: time.Now().UTC(), Machine: machine, SourceKernel: o.Kernel, SourceRootfs: o.Rootfs, SourceBase: o.Base, Image: o.Image, Auto: auto, Note: o.Note}
	return &session{Manager: m, vm: v, verb: "create", dir: m.Home.StagingDir(o.Name), driver: d, net: &net, lease: o.lease}, nil
}

// choosePath makes *path absolute; an empty one becomes what is configured.
func choosePath(path *string, configured, what string) (err error) {
	if *path = cmp.Or(*path, configured); *path == "" {
		return errs.New(errs.ErrHost, "%s not found: none is configured", what).Hint("run 'noid setup', or 'noid config set " + what + " PATH'")
	}
	*path, err = filepath.Abs(*path)
	return err
}

// ChooseDriver returns the name of the driver of a new VM: wish if that is not empty, else the configured one, else the
// one that runs guests best here. A name that no driver has is errs.ErrUsage.
func (m *Manager) ChooseDriver(ctx context.Context, wish string) (string, error) {
	if name := cmp.Or(wish, m.Config.Driver); name != "" {
		_, err := m.Drivers.Driver(name)
		return name, err
	}
	return m.Drivers.Choose(ctx), nil
}

// checkDriver refuses the kernel at path for a driver that could not run it here. It may have to read all of the
// kernel: one that is no Linux, and as small as such are, runs anywhere.
func (m *Manager) checkDriver(driver, path string) error {
	err := m.Drivers.CanRun(driver)
	if err == nil {
		return nil
	}
	if k, broken := boot.InspectKernel(path); broken == nil && k.Version == "" {
		return nil
	}
	return err
}

func joinArgs(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " " + b
}

// lockNew locks name for verb, which makes a VM of that name. A name that a VM has is refused before it is waited for:
// its lock may be this process's own.
func (m *Manager) lockNew(ctx context.Context, name, verb string) (*home.Lock, error) {
	err := CheckName(name)
	if err == nil {
		err = m.free(name)
	}
	if err != nil {
		return nil, err
	}
	lock, err := m.Home.Lock(ctx, name, verb)
	if err != nil {
		return nil, err
	}
	if err := m.free(name); err != nil { // since
		lock.Unlock()
		return nil, err
	}
	return lock, nil
}

// free refuses a name that a VM has.
func (m *Manager) free(name string) error {
	if _, err := os.Lstat(m.Home.VMDir(name)); err == nil {
		return errs.New(errs.ErrExists, "vm %q already exists", name).Hint("choose another name, or 'noid destroy " + name + "' first")
	}
	return nil
}

// publish gives the staged VM its name, which is free: its lock is held and it was looked at.
func (s *session) publish() error {
	dir := s.Home.VMDir(s.vm.Name)
	if s.lease != nil {
		if err := s.lease.Bind(s.dir); err != nil {
			return err
		}
	}
	if err := publish(s.dir, dir); err != nil {
		return err
	}
	s.dir = dir
	return nil
}

// publish renames a directory. When it fails the directory has its old name.
func publish(staging, dir string) error {
	if err := os.Rename(staging, dir); err != nil {
		return err
	}
	if err := storage.SyncDir(filepath.Dir(dir)); err != nil {
		return errors.Join(err, os.Rename(dir, staging))
	}
	return nil
}

// helperWait bounds the wait for a helper to follow its VMM: until then the home's file system cannot be unmounted.
const helperWait = 2 * time.Second

// removeStaged ends p, or what else runs in dir where p does not live, and removes dir, a directory in the staging
// area. A process that cannot be ended keeps its directory: there Sweep finds it at the next command.
func removeStaged(ctx context.Context, p proc.Process, dir string) error {
	end, cancel := cleanup(ctx)
	defer cancel()
	var err error
	if p.Alive() {
		err = p.Kill(end)
	} else {
		err = killStray(end, dir)
	}
	if err == nil && vmm.Elsewhere(dir, vmm.EndingWait) {
		err = errs.New(errs.ErrState, "it runs elsewhere")
	}
	if err != nil {
		return fmt.Errorf("ending what runs in %s: %w", dir, err)
	}
	for began := time.Now(); helper.Present(dir) && time.Since(began) < helperWait; { // it works in dir
		time.Sleep(2 * time.Millisecond)
	}
	return storage.RemoveAll(dir)
}

// HasGuestPrograms reports whether noid was built with the programs that it puts into guests.
func HasGuestPrograms() bool { return boot.HasPrograms() }
