package mcp

import (
	"cmp"
	"context"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/source"
	"noid/internal/vm"
)

// vmIn names a VM.
type vmIn struct {
	VM string `json:"vm" jsonschema:"the VM's name"`
}

// doneOut is the result of what says no more than that it was done.
type doneOut struct {
	VM string `json:"vm"`
}

type vmsOut struct {
	VMs []api.VM `json:"vms"`
}

type createIn struct {
	VM      string `json:"vm" jsonschema:"a name for the VM: letters, digits, dots, dashes and underscores"`
	Image   string `json:"image,omitempty" jsonschema:"a container image such as python:3.13, pulled if it is not there; empty for the user's default"`
	CPUs    int    `json:"cpus,omitempty" jsonschema:"virtual CPUs; 0 for the default"`
	MemMiB  int    `json:"mem_mib,omitempty" jsonschema:"memory in MiB; 0 for the default"`
	DiskMiB int    `json:"disk_mib,omitempty" jsonschema:"size of the VM's own disk in MiB; 0 for the default"`
	Net     string `json:"net,omitempty" jsonschema:"none, default (the internet, not this machine or its network) or a profile that the user has made"`
	Auto    string `json:"auto,omitempty" jsonschema:"exec: a checkpoint before each command, so that undo takes back each; a time such as 5m; or off"`
}

type destroyIn struct {
	vmIn
	Checkpoints bool `json:"checkpoints,omitempty" jsonschema:"also its checkpoints; else they stay and can be restored"`
}

type destroyOut struct {
	VM   string `json:"vm"`
	Kept int    `json:"kept_checkpoints"`
}

func (s *server) addLife() {
	add(s, "list", "List VMs", reads, "List all VMs and their states.", func(ctx context.Context, c call, _ struct{}) (out vmsOut, err error) {
		infos, err := c.m.List(ctx)
		out.VMs = []api.VM{}
		for _, i := range infos {
			out.VMs = append(out.VMs, api.VMOf(i))
		}
		return out, err
	})
	add(s, "create", "Create a VM", adds, "Make a VM, boot it and wait until it runs commands.", s.create)
	add(s, "start", "Start a VM", changes, "Boot a stopped VM.", func(ctx context.Context, c call, in vmIn) (doneOut, error) {
		return doneOut(in), c.m.Start(ctx, in.VM)
	})
	add(s, "stop", "Stop a VM", changes, "Shut a VM down. Its disk stays, its memory and processes do not.", func(ctx context.Context, c call, in vmIn) (doneOut, error) {
		return doneOut(in), c.m.Stop(ctx, in.VM, false)
	})
	add(s, "destroy", "Destroy a VM", removes, "Remove a VM with its disk.", func(ctx context.Context, c call, in destroyIn) (out destroyOut, err error) {
		out.VM = in.VM
		out.Kept, err = c.m.Destroy(ctx, in.VM, in.Checkpoints)
		return out, err
	})
	add(s, "auto", "Checkpoint by itself", changes, "Say when checkpoints of a VM are made by themselves: exec (before each command), a time such as 5m, or off.",
		func(ctx context.Context, c call, in struct {
			vmIn
			When string `json:"when" jsonschema:"exec, a time such as 5m, or off"`
		}) (doneOut, error) {
			return doneOut(in.vmIn), c.m.SetAuto(ctx, in.VM, in.When)
		})
}

func (s *server) create(ctx context.Context, c call, in createIn) (out api.VM, err error) {
	o := vm.CreateOptions{Name: in.VM, Driver: s.o.Driver, CPUs: in.CPUs, MemMiB: in.MemMiB, DiskMiB: in.DiskMiB, Auto: in.Auto, Wait: api.BootWait}
	o.Net.Network = in.Net
	if err := errs.Join(vm.CheckName(in.VM), api.CheckNet(in.Net)); err != nil { // before an image is pulled
		return out, err
	}
	if ref := cmp.Or(in.Image, c.m.Config.Image); ref != "" {
		if o.Image, o.Base, err = s.image(ctx, c, ref); err != nil {
			return out, err
		}
	}
	stop := c.watch(ctx, func() (float64, float64, string) { return 0, 0, "booting" })
	err = c.m.Create(ctx, o)
	stop()
	if err != nil {
		return out, err
	}
	info, err := c.m.Info(ctx, in.VM)
	return api.VMOf(info), err
}

// image obtains an image for a client, and tells it of the download.
func (s *server) image(ctx context.Context, c call, ref string) (*image.Image, string, error) {
	p := &source.Progress{}
	defer c.watch(ctx, func() (float64, float64, string) {
		return float64(p.Done.Load()), float64(p.Total.Load()), "getting the image " + ref
	})()
	return api.ObtainImage(ctx, c.m, "create", ref, p)
}
