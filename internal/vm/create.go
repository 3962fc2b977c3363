package vm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/boot"
	"noid/internal/checkpoint"
	"noid/internal/helper"
	"noid/internal/home"
	"noid/internal/proc"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// CreateOptions say what Create makes. Kernel and Rootfs are paths as the user gave them.
type CreateOptions struct {
	Name, Driver, Kernel, Rootfs, BootArgs string
	CPUs, MemMiB                           int
	NoAgent                                bool // leave noid's agent out of the guest
	Warm                                   bool // restore it from a template, or have it become one
}

// Create makes a VM and starts it; its guest boots in the background.
func (m *Manager) Create(ctx context.Context, o CreateOptions) error {
	if err := home.CheckName(o.Name); err != nil {
		return err
	}
	d, err := m.Driver(o.Driver)
	if err != nil {
		return err
	}
	if err := boot.CheckExt4(o.Rootfs); err != nil {
		return err
	}
	machine := vmm.Machine{Driver: o.Driver, CPUs: o.CPUs, MemMiB: o.MemMiB, BootArgs: o.BootArgs, Agent: !o.NoAgent}
	if machine.KernelPath, err = m.bootable(ctx, o.Kernel, d.Traits().ELFOnly); err != nil {
		return err
	}
	if machine.InitrdPath, err = boot.Initramfs(m.Home.KernelsDir(), o.Kernel, machine.Agent); err != nil {
		return fmt.Errorf("making the initramfs: %w", err)
	}
	lock, err := m.Home.Lock(ctx, o.Name, "create")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := m.free(o.Name); err != nil {
		return err
	}
	v := home.VM{Name: o.Name, CreatedAt: time.Now().UTC(), Machine: machine, SourceKernel: o.Kernel, SourceRootfs: o.Rootfs}
	if machine.Agent {
		v.AgentVersion, v.Unannounced = m.Version, &home.Announcement{Event: "create", Identity: true}
	}
	if o.Warm && machine.Agent {
		key, err := m.templateKey(d, o, machine)
		if err != nil {
			return err
		}
		if m.warm(ctx, d, key, v) {
			return nil
		}
		v.Unannounced.Template = key
	}
	if v.Boots, err = checkpoint.Boots(ctx, machine); err != nil {
		return err
	}
	staging := m.Home.StagingDir(o.Name)
	err = m.stage(ctx, staging, o.Rootfs)
	if err == nil {
		err = m.boot(ctx, d, staging, &v) // before it has its name: whoever sees the VM sees it running
	}
	if err == nil {
		err = publish(staging, m.Home.VMDir(o.Name))
	}
	if err != nil {
		abandon(ctx, v.Process, staging)
		return fmt.Errorf("creating vm %q: %w", o.Name, err)
	}
	return nil
}

// stage makes a VM's directory with its own disk and an idle console.
func (m *Manager) stage(ctx context.Context, staging, rootfs string) error {
	if err := os.Mkdir(staging, 0o700); err != nil {
		return err
	}
	if _, err := storage.Clone(ctx, filepath.Join(staging, vmm.RootfsFile), rootfs); err != nil {
		return err
	}
	return unix.Mkfifo(filepath.Join(staging, vmm.SerialInFile), 0o600)
}

// publish renames a finished staging directory. The name is free: its lock is held and it was looked at. When it fails the
// directory has its old name.
func publish(staging, dir string) error {
	if err := os.Rename(staging, dir); err != nil {
		return err
	}
	if err := storage.SyncDir(filepath.Dir(dir)); err != nil {
		return errors.Join(err, os.Rename(dir, staging))
	}
	return nil
}

// boot starts v in dir and records the process there.
func (m *Manager) boot(ctx context.Context, d Driver, dir string, v *home.VM) error {
	p, err := d.Start(ctx, dir, &v.Machine)
	if err != nil {
		return err
	}
	v.Process, v.StopRequested, v.LastError, v.Frozen = p, false, "", false
	if v.Unannounced != nil && v.Unannounced.Event != "create" { // what was restored is over
		v.Unannounced = nil
	}
	if err := m.Home.SaveVM(dir, *v); err != nil {
		end, cancel := settle(ctx)
		defer cancel()
		return errors.Join(err, p.Kill(end))
	}
	m.help(d, dir, p)
	return nil
}

// help starts the VM's helper. Without it the VM runs all the same, and whoever needs one later starts it.
func (m *Manager) help(d Driver, dir string, p proc.Process) {
	if len(m.Helper) > 0 {
		helper.Start(m.Helper, d.Name(), dir, p)
	}
}

// bootable returns the path of a kernel in the home that the driver can boot: the user's own may be gone when a checkpoint
// of the VM is restored. For a driver that takes ELF alone it is the payload of a bzImage. It is made once.
func (m *Manager) bootable(ctx context.Context, kernel string, elfOnly bool) (string, error) {
	k, err := boot.InspectKernel(kernel)
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(kernel)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	extract := elfOnly && k.Format == boot.BzImage
	name := boot.KernelPrefix
	if extract {
		name = boot.VmlinuxPrefix
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d", path, info.Size(), info.ModTime().UnixNano()))
	out := filepath.Join(m.Home.KernelsDir(), fmt.Sprintf("%s%x", name, key[:8]))
	if _, err := os.Stat(out); err == nil {
		if err := boot.Use(out); !missing(err) {
			return out, nil // a cache that cannot be written to serves as well
		}
	}
	if err := os.MkdirAll(m.Home.KernelsDir(), 0o700); err != nil {
		return "", err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	return out, storage.WriteOnce(out, 0o600, func(tmp *os.File) error {
		if extract {
			return boot.ExtractVmlinux(tmp, path)
		}
		_, err := storage.CloneInto(ctx, tmp, path)
		return err
	})
}

// missing reports whether err says that a file is not there.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
