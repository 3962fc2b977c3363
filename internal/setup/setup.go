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
	// CheckImage looks for an image where it is, PullImage gets it. The errors are those of package image/store.
	CheckImage, PullImage func(ctx context.Context, ref string) error
	// Progress is told what goes on, Notice what the user must not miss; a line each, without a newline.
	Progress, Notice func(line string)
}

func (o Options) say(format string, args ...any) { o.Progress(fmt.Sprintf(format, args...)) }

func (o Options) debian() debian.Options {
	return debian.Options{KernelsDir: o.Home.KernelsDir(), ImagesDir: o.Home.ImagesDir(), Progress: o.Progress}
}

// vmms are the VMMs that doctor looks for. setup installs those that have a binary here.
var vmms = []struct{ driver, name, cure, binary string }{
	{driver: "firecracker", name: "Firecracker", cure: "put the binary firecracker on PATH, if this host has KVM"},
	{driver: "qemu", name: "QEMU", cure: "run 'noid setup'", binary: "qemu-system-" + qemuArch},
}

// qemuArch is this architecture in the name of QEMU's binary.
var qemuArch = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]

// Run does what p says. It moves the storage if storage, "btrfs" or "plain", or the configuration asks for that. It may
// be repeated, and interrupted. errs.ErrHost is what this host cannot do.
func Run(ctx context.Context, o Options, p Plan, storage string) error {
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
	for _, step := range p.Steps {
		if err := step.run(ctx); err != nil {
			return err
		}
	}
	if err := p.lacks(); err != nil {
		return err
	}
	o.say("ready: noid create NAME")
	return nil
}

// setFile makes path the default for key.
func setFile(o Options, key, path string, check func(path string) error) error {
	if err := config.Set(o.Home.ConfigPath(), key, path, func(_, path string) error { return check(path) }); err != nil {
		return err
	}
	o.say("%s: %s", key, path)
	return nil
}

func checkKernel(path string) error {
	_, err := boot.CheckKernel(path)
	return err
}
