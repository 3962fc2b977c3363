package mcp

import (
	"context"
	"strconv"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/vm"
)

type exploreIn struct {
	VM       string   `json:"vm" jsonschema:"the VM, or NAME@ID for a checkpoint of it"`
	Commands []string `json:"commands" jsonschema:"a line for sh -c each: each runs in a copy of its own"`
	Score    string   `json:"score,omitempty" jsonschema:"a line for sh -c that prints a number, run where a variant succeeded"`
	Jobs     int      `json:"jobs,omitempty" jsonschema:"how many run at a time; 2 if 0"`
	Dir      string   `json:"dir,omitempty" jsonschema:"directory to run in"`
	User     string   `json:"user,omitempty" jsonschema:"USER[:GROUP] to run as"`
	TimeoutS float64  `json:"timeout_s,omitempty" jsonschema:"end a variant after so many seconds; 0 for never"`
}

type exploreOut struct {
	VM       string       `json:"vm"`
	Variants []variantOut `json:"variants"`
}

type variantOut struct {
	Variant    int     `json:"variant"`
	ExitCode   int     `json:"exit_code"`
	TimedOut   bool    `json:"timed_out,omitempty"`
	Seconds    float64 `json:"seconds"`
	Score      string  `json:"score,omitempty"`
	Checkpoint string  `json:"checkpoint,omitempty" jsonschema:"what it has made"`
	Output     string  `json:"output" jsonschema:"the end of it"`
	Error      string  `json:"error,omitempty"`
}

// maxVariantOutput is how much of a variant's output a result has, in bytes.
const maxVariantOutput = 2 << 10

func (s *server) addExplore() {
	add(s, "explore", "Explore variants", adds, "Run variants of a command side by side, each in a copy of the VM, and keep what each has made as a checkpoint. keep makes one of them the VM.", s.explore)
	add(s, "keep", "Keep a variant", changes, "Make a variant of the last exploration the VM; the other variants are forgotten. undo takes it back.",
		func(ctx context.Context, c call, in struct {
			vmIn
			Variant int `json:"variant" jsonschema:"its number"`
		}) (api.Undone, error) {
			u, err := c.m.KeepVariant(ctx, in.VM, strconv.Itoa(in.Variant))
			return api.UndoneOf(in.VM, u), err
		})
}

func (s *server) explore(ctx context.Context, c call, in exploreIn) (out exploreOut, err error) {
	name, ref, err := vm.ParseRef(in.VM)
	if err != nil {
		return out, err
	}
	if ref == "" {
		ref = vm.Now
	}
	if in.Jobs < 0 || in.Jobs > api.MaxCopies {
		return out, errs.New(errs.ErrUsage, "jobs: 1 to %d run at a time, not %d", api.MaxCopies, in.Jobs)
	}
	if in.Jobs == 0 {
		in.Jobs = 2
	}
	command, _, _, err := commandIn{CommandSpec: api.CommandSpec{Dir: in.Dir, User: in.User, TimeoutS: in.TimeoutS}}.command()
	if err != nil {
		return out, err
	}
	o := vm.ExploreOptions{Jobs: in.Jobs}
	if in.Score != "" {
		o.Score = []string{"sh", "-c", in.Score}
	}
	var commands [][]string
	for _, line := range in.Commands {
		commands = append(commands, []string{"sh", "-c", line})
	}
	ended := 0
	variants, err := c.m.Explore(ctx, name, ref, commands, command, o, func(v vm.Variant) {
		if v.State == "ended" {
			ended++
		}
		c.tell(ctx, float64(ended), float64(len(commands)), "variant "+strconv.Itoa(v.N)+" "+v.State)
	})
	out = exploreOut{VM: name, Variants: []variantOut{}}
	for _, v := range variants {
		end := v.Output[max(0, len(v.Output)-maxVariantOutput):]
		line := variantOut{Variant: v.N, ExitCode: v.Exit.Code, TimedOut: v.Exit.TimedOut, Seconds: v.Took.Seconds(), Score: v.Score, Checkpoint: v.ID, Output: valid(end)}
		if v.Err != nil {
			line.Error = explained(v.Err).Error()
		}
		out.Variants = append(out.Variants, line)
	}
	return out, err
}
