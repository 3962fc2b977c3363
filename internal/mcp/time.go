package mcp

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/vm"
)

type checkpointIn struct {
	vmIn
	Label string `json:"label,omitempty" jsonschema:"a name for it, one line"`
}

type checkpointOut struct {
	VM         string  `json:"vm"`
	ID         string  `json:"id"`
	Label      string  `json:"label,omitempty"`
	DowntimeMs float64 `json:"downtime_ms" jsonschema:"how long the guest stood still"`
}

type historyIn struct {
	vmIn
	Max int `json:"max,omitempty" jsonschema:"the newest so many; 20 if 0"`
}

type restoreIn struct {
	vmIn
	Checkpoint string `json:"checkpoint" jsonschema:"its id or label"`
	As         string `json:"as,omitempty" jsonschema:"make a new VM of this name; empty puts the VM itself back"`
}

type restoreOut struct {
	VM   string `json:"vm"`
	Kept string `json:"kept,omitempty" jsonschema:"the checkpoint of what was there before"`
}

type forkIn struct {
	VM string `json:"vm" jsonschema:"the VM, or NAME@ID for a checkpoint of it"`
	N  int    `json:"n,omitempty" jsonschema:"how many copies; 1 if 0"`
	As string `json:"as,omitempty" jsonschema:"the name of the only copy; empty for the VM's name and a number"`
}

type forkOut struct {
	VMs        []string          `json:"vms"`
	Failed     map[string]string `json:"failed,omitempty" jsonschema:"why, by name"`
	DowntimeMs float64           `json:"downtime_ms"`
}

type travelIn struct {
	vmIn
	N int `json:"n,omitempty" jsonschema:"how many changes; 1 if 0"`
}

type forgetIn struct {
	vmIn
	Checkpoints []string `json:"checkpoints" jsonschema:"ids or labels"`
}

// maxHistory is how many checkpoints a history shows by default.
const maxHistory = 20

func (s *server) addTime() {
	add(s, "checkpoint", "Checkpoint a VM", adds, "Keep a VM's memory and disk as they are now. The VM runs on.", func(ctx context.Context, c call, in checkpointIn) (checkpointOut, error) {
		made, err := c.m.Checkpoint(ctx, in.VM, in.Label)
		return checkpointOut{in.VM, made.ID, made.Label, made.DowntimeMs}, err
	})
	add(s, "history", "Show a VM's history", reads, "List a VM's checkpoints, the newest first, and what led to each.", s.history)
	add(s, "restore", "Restore a checkpoint", changes, "Put a VM back to a checkpoint, memory and all, or make a new VM of one. What was there is kept as a checkpoint.", s.restore)
	add(s, "fork", "Fork a VM", adds, "Make running copies of a VM or a checkpoint.", s.fork)
	add(s, "undo", "Undo", changes, "Put a VM back to before its last change, or its last N. With auto exec a change is a command, else what happened since a checkpoint.",
		func(ctx context.Context, c call, in travelIn) (api.Undone, error) { return travel(ctx, in, c.m.Undo) })
	add(s, "redo", "Redo", changes, "Take back the last undo, or the last N, as long as nobody has touched the VM since.",
		func(ctx context.Context, c call, in travelIn) (api.Undone, error) { return travel(ctx, in, c.m.Redo) })
	add(s, "forget", "Delete checkpoints", removes, "Delete checkpoints of a VM.", func(ctx context.Context, c call, in forgetIn) (doneOut, error) {
		return doneOut(in.vmIn), c.m.Forget(ctx, in.VM, in.Checkpoints)
	})
	add(s, "diff", "Compare", reads, "Show which files differ between two moments: VMs, checkpoints NAME@ID, NAME@now or images.", s.diff)
}

func (s *server) history(ctx context.Context, c call, in historyIn) (api.History, error) {
	if in.Max <= 0 {
		in.Max = maxHistory
	}
	h, err := c.m.Log(ctx, in.VM, in.Max, false)
	if err != nil && h.Entries == nil {
		return api.History{}, err
	}
	return api.HistoryOf(in.VM, h), nil
}

func (s *server) restore(ctx context.Context, c call, in restoreIn) (out restoreOut, err error) {
	out.VM = in.VM
	if in.As != "" {
		out.VM = in.As
	}
	return out, c.m.Restore(ctx, in.VM, in.Checkpoint, vm.RestoreOptions{As: in.As, Kept: func(id string) { out.Kept = id }})
}

func (s *server) fork(ctx context.Context, c call, in forkIn) (out forkOut, err error) {
	name, ref, err := vm.ParseRef(in.VM)
	n := max(in.N, 1)
	err = cmp.Or(err, notNegative("n", in.N))
	switch {
	case err != nil:
		return out, err
	case n > api.MaxCopies:
		return out, errs.New(errs.ErrUsage, "n: %d is more than %d copies", n, api.MaxCopies)
	case n > 1 && in.As != "":
		return out, errs.New(errs.ErrUsage, "as names one copy, and n is %d", n).Hint("leave one of them out")
	}
	out = forkOut{VMs: []string{}, Failed: map[string]string{}}
	var first error
	out.DowntimeMs, err = c.m.Fork(ctx, name, ref, vm.ForkOptions{As: in.As, N: n, Prefix: name + "-"}, func(clone string, err error) {
		if err == nil {
			out.VMs = append(out.VMs, clone)
		} else {
			out.Failed[clone] = explained(err).Error()
			first = err
		}
		c.tell(ctx, float64(len(out.VMs)+len(out.Failed)), float64(n), clone)
	})
	if err == nil && len(out.VMs) == 0 {
		err = first
	}
	return out, err
}

func travel(ctx context.Context, in travelIn, travel func(context.Context, string, int) (vm.Undone, error)) (api.Undone, error) {
	if err := notNegative("n", in.N); err != nil {
		return api.Undone{}, err
	}
	u, err := travel(ctx, in.VM, max(in.N, 1))
	return api.UndoneOf(in.VM, u), err
}

type diffIn struct {
	From  string   `json:"from" jsonschema:"a VM, NAME@ID, NAME@now or an image. A VM alone is compared with its last checkpoint"`
	To    string   `json:"to,omitempty"`
	Paths []string `json:"paths,omitempty" jsonschema:"these and what is below them; all if empty"`
	Patch bool     `json:"patch,omitempty" jsonschema:"the lines that differ, of texts"`
	All   bool     `json:"all,omitempty" jsonschema:"also /run, /tmp, logs and what else changes by itself"`
	Max   int      `json:"max,omitempty" jsonschema:"how many changes to list; 100 if 0"`
}

type diffOut struct {
	From    string       `json:"from"`
	To      string       `json:"to"`
	Total   int          `json:"total" jsonschema:"how many files differ"`
	Changes []changeLine `json:"changes"`
	Folded  int          `json:"folded,omitempty" jsonschema:"more that changed by themselves: all lists them"`
	Cut     bool         `json:"cut,omitempty" jsonschema:"there are more than noid counts"`
	Patch   string       `json:"patch,omitempty"`
}

// changeLine is a file that differs.
type changeLine struct {
	Kind string   `json:"kind" jsonschema:"added, removed, changed or renamed"`
	Path string   `json:"path"`
	Was  string   `json:"was,omitempty"`
	What []string `json:"what,omitempty"`
	Size int64    `json:"size"`
}

const (
	maxChanges = 100
	maxPatch   = 64 << 10 // bytes
)

func (s *server) diff(ctx context.Context, c call, in diffIn) (out diffOut, err error) {
	sides := []string{in.From}
	if in.To != "" {
		sides = append(sides, in.To)
	}
	before, after, err := c.m.Moments(ctx, sides)
	if err != nil {
		return out, err
	}
	d, err := c.m.Diff(ctx, before, after, vm.DiffOptions{Paths: in.Paths, All: in.All, Texts: in.Patch, Wait: api.BootWait})
	if err != nil {
		return out, err
	}
	if in.Max <= 0 {
		in.Max = maxChanges
	}
	out = diffOut{From: before.String(), To: after.String(), Total: len(d.Changes), Changes: []changeLine{}, Folded: d.Folded, Cut: d.Cut}
	var patch strings.Builder
	for i, c := range d.Changes {
		if i < in.Max {
			line := changeLine{Kind: string(c.Kind), Path: c.Path, Was: c.From, What: c.What}
			if c.After != nil {
				line.Size = c.After.Size
			}
			out.Changes = append(out.Changes, line)
		}
		if text := api.Patch(c); patch.Len()+len(text) <= maxPatch {
			patch.WriteString(text)
		} else {
			patch.WriteString("[" + strconv.Itoa(len(text)) + " bytes for " + c.Path + " are left out: name it in paths]\n")
			break
		}
	}
	out.Patch = valid([]byte(patch.String()))
	return out, nil
}
