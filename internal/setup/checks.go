package setup

import (
	"cmp"
	"context"
	"fmt"

	"noid/internal/boot"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/kvm"
	"noid/internal/network/space"
	"noid/internal/storage"
	"noid/internal/storage/volume"
)

// Check is one thing that a host has or lacks.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Cure   string `json:"cure,omitempty"` // empty when OK
}

// check makes a Check: detail when err is nil, else err with its own hint, or cure.
func check(name, detail, cure string, err error) Check {
	if err != nil {
		return Check{Name: name, Detail: err.Error(), Cure: cmp.Or(errs.Hint(err), cure)}
	}
	return Check{Name: name, OK: true, Detail: detail}
}

// runChecks fills in Checks and CanRun, and what else they find out.
func (r *Report) runChecks(ctx context.Context, o Options) {
	probe, err := kvm.Check()
	switch {
	case err == nil:
		r.KVM = "real"
	case probe.Rate > 0:
		r.KVM = "emulated"
	default:
		r.KVM = "none"
	}
	r.Checks = append(r.Checks, check("KVM", fmt.Sprintf("%.0f million instructions a second (probed in %d ms)", probe.Rate/1e6, probe.Took.Milliseconds()),
		"QEMU runs guests without KVM, slowly; for KVM use a host with virtualization and join the group kvm", err))
	for _, v := range vmms {
		version, err := o.Version(ctx, v.driver)
		if err == nil {
			r.VMMs[v.driver] = version
		}
		r.Checks = append(r.Checks, check(v.name, "version "+version, v.cure, err))
	}
	kernel, rootfs := checkDefault("kernel", "kernel", o.Config.Kernel, checkKernel), checkDefault("root file system", "rootfs", o.Config.Rootfs, boot.CheckExt4)
	if o.Config.Image != "" && o.Config.Rootfs == "" {
		rootfs = check("root file system", "of the image "+o.Config.Image, "", nil)
	}
	r.Checks = append(r.Checks, kernel, rootfs)
	for _, warning := range o.Config.Ignored {
		r.Checks = append(r.Checks, Check{Name: "configuration", Detail: warning, Cure: "'noid config unset KEY' takes it out"})
	}
	r.Checks = append(r.Checks, checkStorage(o.Home))
	r.Checks = append(r.Checks, checkConfinement(home.Existing(o.Home.Dir()))...)
	r.Checks = append(r.Checks, check("network", "each VM has a network namespace of its own", "VMs of QEMU have a slower network, those of Firecracker none", space.Available()))
	r.CanRun = len(r.VMMs) > 0 && kernel.OK && rootfs.OK
}

// checkDefault says whether look accepts the file that the configuration names for key.
func checkDefault(name, key, path string, look func(path string) error) Check {
	cure := "run 'noid setup', or 'noid config set " + key + " PATH'"
	if path == "" {
		return check(name, path, cure, errs.New(errs.ErrHost, "%s not found: none is configured", key))
	}
	return check(name, path, cure, look(path))
}

// checkStorage says whether disks are cloned or copied.
func checkStorage(h *home.Home) Check {
	dir := h.Dir()
	if volume.Exists(dir) {
		u, err := volume.Look(dir)
		return check("storage", fmt.Sprintf("btrfs volume of %d MiB, %d MiB free; it takes %d MiB of the %s around it, which has %d MiB free: disks are cloned without copying",
			u.Size>>20, u.Free>>20, u.Taken>>20, storage.FSType(dir), u.HostFree>>20), "", err)
	}
	vms := home.Existing(h.VMsDir()) // doctor makes no home
	kind := storage.FSType(vms)
	shares, err := storage.Reflinks(vms)
	if err == nil && !shares {
		err = fmt.Errorf("plain, on %s, which cannot share blocks: checkpoints and clones copy the disk", kind)
	}
	return check("storage", "plain, on "+kind+": disks are cloned without copying", storageAdvice(dir), err)
}
