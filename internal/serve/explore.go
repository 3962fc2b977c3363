package serve

import (
	"context"
	"strconv"
	"time"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/vm"
)

// ExploreRequest is an exploration.
type ExploreRequest struct {
	inVM
	Checkpoint string     `json:"checkpoint,omitempty" max:"300" jsonschema:"of this checkpoint; without one, of the VM as it is"`
	Commands   []string   `json:"commands,omitempty" max:"1000" jsonschema:"a line for sh -c each: each runs in a clone of its own"`
	Argvs      [][]string `json:"argvs,omitempty" max:"1000" jsonschema:"instead of commands: a program and its arguments each"`
	Score      string     `json:"score,omitempty" jsonschema:"a line for sh -c that prints a number, run where a variant succeeded"`
	Changes    bool       `json:"changes,omitempty" jsonschema:"count the files that each has changed"`
	Jobs       int        `json:"jobs,omitempty" min:"0" max:"100" jsonschema:"how many run at a time; 2 if 0"`
	Dir        string     `json:"dir,omitempty" jsonschema:"directory to run in"`
	User       string     `json:"user,omitempty" jsonschema:"USER[:GROUP] to run as"`
	TimeoutS   float64    `json:"timeout_s,omitempty" min:"0" max:"31536000" jsonschema:"end a variant after so many seconds, such as 0.5; 0 for never"`
}

// KeepRequest is a variant of an exploration.
type KeepRequest struct {
	inVM
	Variant int `json:"variant" min:"1" max:"1000" jsonschema:"its number"`
}

// Explored is how the variants of an exploration went, by their numbers.
type Explored struct {
	VM       string        `json:"vm"`
	Variants []api.Variant `json:"variants"`
}

// VariantBegun is, in the event variant_begun, a variant that begins. The event variant has one that has ended.
type VariantBegun struct {
	Variant int    `json:"variant"`
	Command string `json:"command"`
}

// PruneRequest says which checkpoints stay. What no rule keeps goes, but for those with a label or a pin, and the one that
// the VM came from last.
type PruneRequest struct {
	inVM
	KeepLast    int      `json:"keep_last,omitempty" min:"0" max:"1000000" jsonschema:"the newest so many"`
	KeepHourly  int      `json:"keep_hourly,omitempty" min:"0" max:"1000000" jsonschema:"the newest of each of the last so many hours that have one"`
	KeepDaily   int      `json:"keep_daily,omitempty" min:"0" max:"1000000"`
	KeepWeekly  int      `json:"keep_weekly,omitempty" min:"0" max:"1000000"`
	KeepMonthly int      `json:"keep_monthly,omitempty" min:"0" max:"1000000"`
	KeepYearly  int      `json:"keep_yearly,omitempty" min:"0" max:"1000000"`
	KeepLabels  []string `json:"keep_labels,omitempty" max:"1000" jsonschema:"those with one of these labels, automatic ones too"`
	WithinS     int64    `json:"within_s,omitempty" min:"0" max:"3153600000" jsonschema:"all that are younger than the newest by so many seconds"`
	MaxBytes    int64    `json:"max_bytes,omitempty" min:"0" max:"1152921504606846976" jsonschema:"the oldest go until the others have no more bytes of their own"`
	DryRun      bool     `json:"dry_run,omitempty" jsonschema:"say what would go, and remove nothing"`
}

// Pruned is what became of the checkpoints, the newest first.
type Pruned struct {
	Checkpoints []api.Planned `json:"checkpoints"`
}

func (s *server) addExplore() {
	const tag = "Time"
	add(s, op{method: "POST", path: "/vms/{vm}/explore", id: "explore", tag: tag, summary: "Run variants of a command side by side, each in a clone, and keep what each has made as a checkpoint", long: true,
		events: "variant_begun, variant, warning", example: `{"commands":["make test SEED=1","make test SEED=2"],"jobs":2}`}, s.explore)
	add(s, op{method: "POST", path: "/vms/{vm}/keep", id: "keep", tag: tag, summary: "Make a variant of the last exploration the VM; the other variants are forgotten", long: true,
		example: `{"variant":2}`}, s.keep)
	add(s, op{method: "POST", path: "/vms/{vm}/prune", id: "prune", tag: tag, summary: "Remove the checkpoints that no rule keeps", example: `{"keep_last":10,"keep_daily":7}`}, s.prune)
}

func (s *server) explore(ctx context.Context, c *call, in ExploreRequest) (Explored, error) {
	if len(in.Commands) > 0 && len(in.Argvs) > 0 {
		return Explored{}, errs.New(errs.ErrUsage, "commands and argvs are one too many").Hint("give one of them")
	}
	for _, line := range in.Commands {
		in.Argvs = append(in.Argvs, []string{"sh", "-c", line})
	}
	for _, argv := range in.Argvs {
		if len(argv) == 0 {
			return Explored{}, errs.New(errs.ErrUsage, "argvs: a command is empty")
		}
	}
	command, _, err := api.CommandSpec{Dir: in.Dir, User: in.User, TimeoutS: in.TimeoutS}.Parse()
	if err != nil {
		return Explored{}, err
	}
	o := vm.ExploreOptions{Jobs: in.Jobs, Changes: in.Changes}
	if o.Jobs == 0 {
		o.Jobs = 2
	}
	if in.Score != "" {
		o.Score = []string{"sh", "-c", in.Score}
	}
	ref := in.Checkpoint
	if ref == "" {
		ref = vm.Now
	}
	variants, err := c.m.Explore(ctx, in.VM, ref, in.Argvs, command, o, func(v vm.Variant) {
		switch {
		case c.events == nil:
		case v.State == "running":
			c.events.send("variant_begun", VariantBegun{v.N, v.What})
		default:
			c.events.send("variant", api.VariantOf(v, in.Changes))
		}
	})
	out := Explored{VM: in.VM, Variants: []api.Variant{}}
	for _, v := range variants {
		out.Variants = append(out.Variants, api.VariantOf(v, in.Changes))
	}
	return out, err
}

func (s *server) keep(ctx context.Context, c *call, in KeepRequest) (api.Undone, error) {
	u, err := c.m.KeepVariant(ctx, in.VM, strconv.Itoa(in.Variant))
	return api.UndoneOf(in.VM, u), err
}

func (s *server) prune(ctx context.Context, c *call, in PruneRequest) (Pruned, error) {
	plan, err := c.m.Prune(ctx, in.VM, vm.Retention{Last: in.KeepLast, Hourly: in.KeepHourly, Daily: in.KeepDaily, Weekly: in.KeepWeekly, Monthly: in.KeepMonthly,
		Yearly: in.KeepYearly, Labels: in.KeepLabels, Within: time.Duration(in.WithinS) * time.Second, MaxBytes: in.MaxBytes}, in.DryRun)
	out := Pruned{Checkpoints: []api.Planned{}}
	for _, p := range plan {
		out.Checkpoints = append(out.Checkpoints, api.PlannedOf(p))
	}
	return out, err
}
