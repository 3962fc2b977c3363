package serve

import (
	"context"
	"strings"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// HistoryRequest is what is asked of a history.
type HistoryRequest struct {
	inVM
	Max  int  `json:"-" query:"max,omitempty" min:"0" max:"100000" jsonschema:"the newest so many; all if 0"`
	Size bool `json:"-" query:"size,omitempty" jsonschema:"with what each takes of the disk"`
}

// TravelRequest is how far a VM is to go in its history.
type TravelRequest struct {
	inVM
	N int `json:"n,omitempty" min:"0" max:"100000" jsonschema:"how many changes; 1 if 0"`
}

// ForkRequest is what copies to make.
type ForkRequest struct {
	inVM
	Checkpoint   string   `json:"checkpoint,omitempty" max:"300" jsonschema:"of this checkpoint; without one, of the VM as it is"`
	As           string   `json:"as,omitempty" pattern:"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$" jsonschema:"the name of the only copy"`
	N            int      `json:"n,omitempty" min:"0" max:"100" jsonschema:"how many; 1 if 0"`
	Prefix       string   `json:"prefix,omitempty" pattern:"^[A-Za-z0-9][A-Za-z0-9_.-]{0,58}$" jsonschema:"what their names begin with, before a number; the VM's name and a dash without one"`
	KeepIdentity bool     `json:"keep_identity,omitempty" jsonschema:"they keep hostname and machine-id"`
	Ports        []string `json:"ports,omitempty" max:"1000" jsonschema:"each one's own, so that of several every port is one that is free: GUEST"`
	Secrets      []string `json:"secrets,omitempty" max:"100" jsonschema:"names of secrets that they may use"`
}

// Forked is what a fork has made.
type Forked struct {
	VMs        []api.VM  `json:"vms"`
	Failed     []NotMade `json:"failed"`
	DowntimeMs float64   `json:"downtime_ms" jsonschema:"how long the VM stood still"`
}

// NotMade is a copy that could not be made.
type NotMade struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

// DiffRequest is what to compare.
type DiffRequest struct {
	From      string   `json:"-" query:"from" min:"1" max:"1000" jsonschema:"a VM, NAME@ID, NAME@now or an image. A VM alone is compared with its last checkpoint"`
	To        string   `json:"-" query:"to,omitempty" max:"1000"`
	Paths     []string `json:"-" query:"path,omitempty" max:"1000" jsonschema:"these and what is below them"`
	Patch     bool     `json:"-" query:"patch,omitempty" jsonschema:"the lines that differ, of texts"`
	All       bool     `json:"-" query:"all,omitempty" jsonschema:"also what changes by itself: /run, /tmp, logs"`
	Processes bool     `json:"-" query:"processes,omitempty" jsonschema:"processes, and no files"`
	Packages  bool     `json:"-" query:"packages,omitempty" jsonschema:"packages of dpkg, apk, pip and npm too"`
	Max       int      `json:"-" query:"max,omitempty" min:"0" max:"100000" jsonschema:"how many files to list; 1000 if 0"`
}

// DiffResult is how two moments differ.
type DiffResult struct {
	api.Diff
	Total    int    `json:"total" jsonschema:"how many files differ"`
	Patch    string `json:"patch,omitempty" jsonschema:"as diff -u writes it"`
	PatchCut bool   `json:"patch_cut,omitempty" jsonschema:"there is more of it: name paths"`
}

// Bounds of a diff in an answer.
const (
	defaultChanges = 1000
	maxPatch       = 1 << 20 // bytes
)

func (s *server) addTime() {
	const tag = "Time"
	add(s, op{method: "GET", path: "/vms/{vm}/history", id: "history", verb: "log", tag: tag, summary: "Show what a VM has been through, the newest first", reads: true}, s.history)
	add(s, op{method: "POST", path: "/vms/{vm}/undo", id: "undo", tag: tag, summary: "Put a VM back to before its last change, or its last N", long: true, example: `{"n":1}`},
		func(ctx context.Context, c *call, in TravelRequest) (api.Undone, error) {
			return travel(ctx, in, c.m.Undo)
		})
	add(s, op{method: "POST", path: "/vms/{vm}/redo", id: "redo", tag: tag, summary: "Take back the last undo, or the last N", long: true, example: `{"n":1}`},
		func(ctx context.Context, c *call, in TravelRequest) (api.Undone, error) {
			return travel(ctx, in, c.m.Redo)
		})
	add(s, op{method: "POST", path: "/vms/{vm}/fork", id: "fork", tag: tag, summary: "Make running copies of a VM or a checkpoint", long: true, events: "progress, warning",
		example: `{"n":4}`}, s.fork)
	add(s, op{method: "GET", path: "/diff", id: "diff", tag: tag, summary: "Compare two moments", reads: true, long: true}, s.diff)
	s.addExplore()
}

func (s *server) history(ctx context.Context, c *call, in HistoryRequest) (api.History, error) {
	h, err := c.m.Log(ctx, in.VM, in.Max, in.Size)
	if err != nil && h.Entries == nil {
		return api.History{}, err
	}
	return api.HistoryOf(in.VM, h), nil
}

func travel(ctx context.Context, in TravelRequest, travel func(context.Context, string, int) (vm.Undone, error)) (api.Undone, error) {
	u, err := travel(ctx, in.VM, max(in.N, 1))
	return api.UndoneOf(in.VM, u), err
}

func (s *server) fork(ctx context.Context, c *call, in ForkRequest) (out Forked, err error) {
	o := vm.ForkOptions{As: in.As, N: max(in.N, 1), Prefix: in.Prefix, Secrets: in.Secrets, KeepIdentity: in.KeepIdentity}
	if o.Prefix == "" {
		o.Prefix = in.VM + "-"
	}
	if in.As != "" && (o.N > 1 || in.Prefix != "") {
		return out, errs.New(errs.ErrUsage, "as names one copy, n and prefix many").Hint("leave one of them out")
	}
	if o.Ports, err = portGroups(in.Ports); err != nil {
		return out, err
	}
	for _, group := range o.Ports {
		if o.N > 1 && group[0].Host.Port() != 0 {
			return out, errs.New(errs.ErrUsage, "ports: %d copies cannot all have port %d", o.N, group[0].Host.Port()).Hint("name the guest's port alone, for any that is free")
		}
	}
	out = Forked{VMs: []api.VM{}, Failed: []NotMade{}}
	var first error
	out.DowntimeMs, err = c.m.Fork(ctx, in.VM, in.Checkpoint, o, func(clone string, err error) {
		if err != nil {
			out.Failed = append(out.Failed, NotMade{clone, untrusted.Text([]byte(err.Error()))})
			first = err
		} else if info, err := c.m.Info(ctx, clone); err == nil {
			out.VMs = append(out.VMs, api.VMOf(info))
		}
		c.tell(clone, int64(len(out.VMs)+len(out.Failed)), int64(o.N))
	})
	if err == nil && len(out.VMs) == 0 {
		err = first
	}
	return out, err
}

func (s *server) diff(ctx context.Context, c *call, in DiffRequest) (out DiffResult, err error) {
	sides := []string{in.From}
	if in.To != "" {
		sides = append(sides, in.To)
	}
	before, after, err := c.m.Moments(ctx, sides)
	if err != nil {
		return out, err
	}
	defer c.watch(func() progress { return progress{Message: "comparing"} })()
	d, err := c.m.Diff(ctx, before, after, vm.DiffOptions{Paths: in.Paths, All: in.All, Texts: in.Patch, Processes: in.Processes, Packages: in.Packages, Wait: api.BootWait})
	if err != nil {
		return out, err
	}
	if in.Max == 0 {
		in.Max = defaultChanges
	}
	out.Total = len(d.Changes)
	var patch strings.Builder
	for _, c := range d.Changes[:min(len(d.Changes), in.Max)] {
		text := api.Patch(c)
		if out.PatchCut = patch.Len()+len(text) > maxPatch; out.PatchCut {
			break
		}
		patch.WriteString(text)
	}
	out.Patch = strings.ToValidUTF8(patch.String(), "\uFFFD")
	d.Cut = d.Cut || len(d.Changes) > in.Max
	d.Changes = d.Changes[:min(len(d.Changes), in.Max)]
	out.Diff = api.DiffOf(before, after, d)
	return out, nil
}
