package setup

import (
	"context"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"noid/internal/boot"
	"noid/internal/home"
	"noid/internal/image"
	"noid/internal/setup/distro"
	"noid/internal/storage"
	"noid/internal/storage/volume"
)

// Report is what a host has and can do, and what noid would use on it. A bug report begins with it.
type Report struct {
	// CanRun is that there are a VMM, a kernel, and a root file system or an image. All else is as good as it gets.
	CanRun bool `json:"can_run"`
	Host   struct {
		Arch         string `json:"arch"`         // in Go's words
		Kernel       string `json:"kernel"`       // uname -r
		Distribution string `json:"distribution"` // os-release's PRETTY_NAME
	} `json:"host"`
	KVM    string            `json:"kvm"`    // "real", "emulated" by software behind /dev/kvm, or "none"
	VMMs   map[string]string `json:"vmms"`   // versions, by the driver; of those alone that can be used
	Driver string            `json:"driver"` // of a new VM
	Home   struct {
		Path       string `json:"path"`
		Storage    string `json:"storage"`     // "plain" or "btrfs": a volume in the home
		FileSystem string `json:"file_system"` // of the storage
		Reflinks   bool   `json:"reflinks"`
	} `json:"home"`
	Kernel struct {
		Path    string `json:"path"` // "" when none is configured
		Version string `json:"version,omitempty"`
	} `json:"kernel"`
	Rootfs string  `json:"rootfs"` // its path, "" when none is configured
	Image  string  `json:"image"`  // that is configured, and comes before Rootfs
	Images int     `json:"images"` // that are built
	Checks []Check `json:"checks"`
}

// Examine looks at the host. driver is that of a new VM. When ctx ends meanwhile, the report tells nothing of the host.
func Examine(ctx context.Context, o Options, driver string) Report {
	r := Report{VMMs: map[string]string{}, Driver: driver, Rootfs: o.Config.Rootfs, Image: o.Config.Image}
	r.Host.Arch, r.Host.Distribution = runtime.GOARCH, distro.Read().Name
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		r.Host.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	dir := home.Existing(o.Home.VMsDir()) // who looks makes no home
	r.Home.Path, r.Home.Storage, r.Home.FileSystem = o.Home.Dir(), "plain", storage.FSType(dir)
	r.Home.Reflinks, _ = storage.Reflinks(dir)
	if volume.Exists(o.Home.Dir()) {
		r.Home.Storage = "btrfs"
	}
	r.Kernel.Path = o.Config.Kernel
	if k, err := boot.InspectKernel(o.Config.Kernel); err == nil {
		r.Kernel.Version = k.Version
	}
	for _, below := range []string{"*", "*/*"} {
		bases, _ := filepath.Glob(filepath.Join(o.Home.ImagesDir(), below, image.BaseFile))
		r.Images += len(bases)
	}
	r.runChecks(ctx, o)
	return r
}
