package serve

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/source"
	"noid/internal/network"
	"noid/internal/vm"
)

// inVM names a VM in the path.
type inVM struct {
	VM string `json:"-" path:"vm" pattern:"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$" jsonschema:"the VM's name"`
}

// VMList is all VMs.
type VMList struct {
	VMs []api.VM `json:"vms"`
}

// Done is the answer of what says no more than that it was done.
type Done struct {
	VM string `json:"vm"`
}

// NetSpec is the network of a new VM.
type NetSpec struct {
	Net     string   `json:"net,omitempty" max:"63" jsonschema:"none, default (the internet, not this machine or its network) or a profile that the user has made"`
	Allow   []string `json:"allow,omitempty" max:"1000" jsonschema:"rules of what it may reach, and nothing else"`
	Deny    []string `json:"deny,omitempty" max:"1000" jsonschema:"rules of what it may not reach"`
	Ports   []string `json:"ports,omitempty" max:"1000" jsonschema:"ports that lead to the guest, as docker's -p has them: HOST:GUEST, or GUEST for any that is free"`
	Secrets []string `json:"secrets,omitempty" max:"100" jsonschema:"names of secrets that it may use"`
}

// options are n as package vm takes it.
func (n NetSpec) options() (o vm.NetOptions, err error) {
	o = vm.NetOptions{Network: n.Net, Allow: n.Allow, Deny: n.Deny, Secrets: n.Secrets}
	o.Ports, err = portGroups(n.Ports)
	return o, errs.Join(api.CheckNet(n.Net), api.CheckRules(n.Allow, n.Deny), err)
}

func portGroups(texts []string) (groups [][]network.Port, err error) {
	for _, text := range texts {
		group, err := network.ParsePort(text)
		if err != nil {
			return nil, err
		}
		groups = append(groups, group)
	}
	return groups, nil
}

// CreateRequest is a new VM.
type CreateRequest struct {
	Name    string `json:"name" pattern:"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$" jsonschema:"its name"`
	Image   string `json:"image,omitempty" max:"1000" jsonschema:"a container image such as python:3.13, pulled if it is not there; empty for the user's default"`
	CPUs    int    `json:"cpus,omitempty" min:"0" max:"64" jsonschema:"virtual CPUs; 0 for the default"`
	MemMiB  int    `json:"mem_mib,omitempty" min:"0" max:"1048576" jsonschema:"memory in MiB; 0 for the default"`
	DiskMiB int    `json:"disk_mib,omitempty" min:"0" max:"8388608" jsonschema:"size of its own disk in MiB; 0 for the default"`
	Auto    string `json:"auto,omitempty" max:"40" jsonschema:"exec: a checkpoint before each command; a time such as 5m; or off"`
	NoWait  bool   `json:"no_wait,omitempty" jsonschema:"answer while it boots"`
	NetSpec
}

// DestroyRequest is which VM is to go, and what of it.
type DestroyRequest struct {
	inVM
	Checkpoints bool `json:"-" query:"checkpoints,omitempty" jsonschema:"its checkpoints too; else they stay, and can be restored"`
}

// Destroyed is what is left of a VM.
type Destroyed struct {
	VM              string `json:"vm"`
	KeptCheckpoints int    `json:"kept_checkpoints"`
}

// StopRequest is how a VM is to stop.
type StopRequest struct {
	inVM
	Force bool `json:"force,omitempty" jsonschema:"kill it, without asking its guest"`
}

// RenameRequest is a VM's new name.
type RenameRequest struct {
	inVM
	Name string `json:"name" pattern:"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"`
}

// AutoRequest is when checkpoints are made by themselves.
type AutoRequest struct {
	inVM
	When string `json:"when" min:"1" max:"40" jsonschema:"exec (before each command), a time such as 5m, or off"`
}

func (s *server) addVMs() {
	const tag = "VMs"
	add(s, op{method: "GET", path: "/vms", id: "list", tag: tag, summary: "List the VMs", reads: true}, s.list)
	add(s, op{method: "POST", path: "/vms", id: "create", tag: tag, summary: "Make a VM, boot it and wait until it runs commands", status: http.StatusCreated, long: true,
		events: "progress", example: `{"name":"dev","image":"python:3.13","mem_mib":1024,"auto":"exec"}`}, s.create)
	add(s, op{method: "GET", path: "/vms/{vm}", id: "inspect", tag: tag, summary: "Show all that is known of a VM", reads: true}, s.inspect)
	add(s, op{method: "DELETE", path: "/vms/{vm}", id: "destroy", tag: tag, summary: "Destroy a VM, with its disk"}, func(ctx context.Context, c *call, in DestroyRequest) (Destroyed, error) {
		kept, err := c.m.Destroy(ctx, in.VM, in.Checkpoints)
		return Destroyed{in.VM, kept}, err
	})
	for _, v := range []struct {
		verb, summary string
		do            func(*vm.Manager) func(context.Context, string) error
	}{{"start", "Boot a stopped VM", func(m *vm.Manager) func(context.Context, string) error { return m.Start }},
		{"pause", "Have a VM stand still", func(m *vm.Manager) func(context.Context, string) error { return m.Pause }},
		{"resume", "Let a paused VM run again", func(m *vm.Manager) func(context.Context, string) error { return m.Resume }}} {
		add(s, op{method: "POST", path: "/vms/{vm}/" + v.verb, id: v.verb, tag: tag, summary: v.summary}, func(ctx context.Context, c *call, in inVM) (Done, error) {
			return Done(in), v.do(c.m)(ctx, in.VM)
		})
	}
	add(s, op{method: "POST", path: "/vms/{vm}/stop", id: "stop", tag: tag, summary: "Shut a VM down; its disk stays", example: `{}`}, func(ctx context.Context, c *call, in StopRequest) (Done, error) {
		return Done(in.inVM), c.m.Stop(ctx, in.VM, in.Force)
	})
	add(s, op{method: "POST", path: "/vms/{vm}/rename", id: "rename", tag: tag, summary: "Give a VM another name", example: `{"name":"prod"}`}, func(ctx context.Context, c *call, in RenameRequest) (Done, error) {
		return Done{in.Name}, c.m.Rename(ctx, in.VM, in.Name)
	})
	add(s, op{method: "PUT", path: "/vms/{vm}/auto", id: "auto", tag: tag, summary: "Say when checkpoints are made by themselves", example: `{"when":"exec"}`},
		func(ctx context.Context, c *call, in AutoRequest) (Done, error) {
			return Done(in.inVM), c.m.SetAuto(ctx, in.VM, in.When)
		})
}

func (s *server) list(ctx context.Context, c *call, _ struct{}) (VMList, error) {
	infos, err := c.m.List(ctx)
	out := VMList{VMs: []api.VM{}}
	for _, i := range infos {
		out.VMs = append(out.VMs, api.VMOf(i))
	}
	return out, err
}

func (s *server) create(ctx context.Context, c *call, in CreateRequest) (out api.VM, err error) {
	o := vm.CreateOptions{Name: in.Name, Driver: s.o.Driver, CPUs: in.CPUs, MemMiB: in.MemMiB, DiskMiB: in.DiskMiB, Auto: in.Auto}
	if !in.NoWait {
		o.Wait = api.BootWait
	}
	if o.Net, err = in.NetSpec.options(); err != nil { // before an image is pulled
		return out, err
	}
	if err := c.m.CheckExists(in.Name); err == nil {
		return out, errs.New(errs.ErrExists, "vm %q exists already", in.Name).Hint("choose another name, or 'noid destroy " + in.Name + "' it")
	}
	if o.Image, o.Base, err = s.image(ctx, c, in.Image); err != nil {
		return out, err
	}
	stop := c.watch(func() progress { return progress{Message: "booting"} })
	err = c.m.Create(ctx, o)
	stop()
	if err != nil {
		return out, err
	}
	c.w.Header().Set("Location", "/v1/vms/"+in.Name)
	info, err := c.m.Info(ctx, in.Name)
	return api.VMOf(info), err
}

// image obtains the image ref, or the user's default, for a VM; none where neither is.
func (s *server) image(ctx context.Context, c *call, ref string) (*image.Image, string, error) {
	if ref = cmp.Or(ref, c.m.Config.Image); ref == "" {
		return nil, "", nil
	}
	p := &source.Progress{}
	defer c.watch(func() progress { return progress{"getting the image " + ref, p.Done.Load(), p.Total.Load()} })()
	i, base, err := api.ObtainImage(ctx, c.m, "create", ref, p)
	return i, base, ofRegistry(err)
}

// ofRegistry marks err if it is that a registry could not be reached, which is no fault of noid's.
func ofRegistry(err error) error {
	if _, ok := errors.AsType[net.Error](err); ok && problemOf(err).Kind == "failed" {
		return errs.Mark(err, errRegistry)
	}
	return err
}

func (s *server) inspect(ctx context.Context, c *call, in inVM) (api.Details, error) {
	d, err := c.m.Inspect(ctx, in.VM)
	return api.DetailsOf(d), err
}
