// Package setup owns what 'noid setup' and 'noid doctor' do: it gets what a host lacks to run VMs and makes that the
// default, it moves the home's storage, and it says what the host can do.
package setup

import (
	"context"
	"fmt"
	"runtime"

	"noid/internal/boot"
	"noid/internal/config"
	"noid/internal/home"
	"noid/internal/setup/debian"
)

// Options are what setup works on, and whom it tells.
type Options struct {
	Home   *home.Home
	Config config.Config
	// Version asks a driver for the version of its VMM. The error says why that cannot be used.
	Version func(ctx context.Context, driver string) (string, error)
	// Progress is told what goes on, Notice what the user must not miss; a line each, without a newline.
	Progress, Notice func(line string)
}

func (o Options) say(format string, args ...any) { o.Progress(fmt.Sprintf(format, args...)) }

func (o Options) debian() debian.Options {
	return debian.Options{KernelsDir: o.Home.KernelsDir(), ImagesDir: o.Home.ImagesDir(), Progress: o.Progress}
}

// vmms are the VMMs that doctor looks for. setup installs those that have a package.
var vmms = []struct{ driver, name, cure, binary, pkg string }{
	{driver: "firecracker", name: "Firecracker", cure: "put the binary firecracker on PATH, if this host has KVM"},
	{driver: "qemu", name: "QEMU", cure: "run 'noid setup'", binary: "qemu-system-" + qemuArch[0], pkg: "qemu-system-" + qemuArch[1]},
}

// qemuArch is this architecture in the names of QEMU's binary and of Debian's package.
var qemuArch = map[string][2]string{"amd64": {"x86_64", "x86"}, "arm64": {"aarch64", "arm"}}[runtime.GOARCH]

// Run gets what is missing for VMs of driver: the VMM, a kernel and a root filesystem. It moves the storage if storage,
// "btrfs" or "plain", or the configuration asks for that. It may be repeated. errs.ErrHost is what this host cannot do.
func Run(ctx context.Context, o Options, driver, storage string) error {
	if err := o.Home.Make(); err != nil {
		return err
	}
	if err := runStorage(ctx, o, storage); err != nil {
		return err
	}
	if home.CheckOwner(o.Home.Dir(), false) != nil { // root was here for the storage; the files are to be the owner's
		return nil
	}
	debian.Sweep(o.debian())
	for _, v := range vmms {
		if v.driver != driver || v.pkg == "" {
			continue
		}
		if _, err := o.Version(ctx, driver); err != nil {
			if _, err := debian.Tool(ctx, o.debian(), v.binary, v.pkg); err != nil {
				return err
			}
		}
	}
	for _, file := range []struct {
		key, what, have string
		check           func(path string) error
		get             func(context.Context, debian.Options) (string, error)
	}{
		{"kernel", "kernel", o.Config.Kernel, checkKernel, debian.Kernel},
		{"rootfs", "root file system", o.Config.Rootfs, boot.CheckExt4, debian.Rootfs},
	} {
		if file.have != "" && file.check(file.have) == nil {
			continue
		}
		path, err := file.get(ctx, o.debian())
		if err != nil {
			return err
		}
		check := func(_, path string) error { return file.check(path) }
		if err := config.Set(o.Home.ConfigPath(), file.key, path, check); err != nil {
			return err
		}
		o.say("%s: %s", file.what, path)
	}
	o.say("ready: noid create NAME")
	return nil
}

func checkKernel(path string) error {
	_, err := boot.CheckKernel(path)
	return err
}
