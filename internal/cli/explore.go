package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// placeholder stands in a variant's command for its number, or for its line of --each.
const placeholder = "{}"

func (a *app) exploreCmd() *cobra.Command {
	var c vm.Command
	var o vm.ExploreOptions
	var n int
	var each, score string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "explore [flags] NAME[@ID] [--] CMD [ARG...]", Short: "Run variants of a command in clones, side by side",
		Long: `Run variants of a command, each in a clone of its own, and keep what each has made as a checkpoint of the VM. {} in the
command is the variant's number, from 1 to -n, or its line of --each. With --score, a command that prints a number is run in
the clones whose variant succeeded.
Afterwards 'noid keep NAME VARIANT' makes one of them the VM and forgets the others; 'noid diff' and 'noid exec NAME@ID' look
into them. Ctrl+C ends all: what has ended is kept. Exit code 1: no variant succeeded.
`,
		Example: "  noid explore dev -n 4 --jobs 2 -- sh -c 'make test SEED={}'\n  noid explore dev --each versions.txt --score 'cat /tmp/score' -- pip install '{}'",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, ref, err := vm.ParseRef(args[0])
			if err != nil {
				return err
			}
			words := guestWords(args[1:])
			if len(words) == 0 {
				return arguments(cmd, args[:1])
			}
			if err := checkCommand(&c); err != nil {
				return err
			}
			texts, err := variantTexts(n, each)
			if err != nil {
				return err
			}
			if o.Jobs < 1 || o.Jobs > maxForks {
				return usageError(fmt.Sprintf("--jobs takes 1 to %d at a time, not %d", maxForks, o.Jobs), "")
			}
			if score != "" {
				o.Score = []string{"sh", "-c", score}
			}
			var commands [][]string
			for _, text := range texts {
				argv := slices.Clone(words)
				for i := range argv {
					argv[i] = strings.ReplaceAll(argv[i], placeholder, text)
				}
				commands = append(commands, argv)
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			if ref == "" {
				ref = vm.Now
			}
			return a.explore(cmd.Context(), m, name, ref, commands, c, o, asJSON)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&n, "n", "n", 0, "how many variants")
	f.StringVar(&each, "each", "", "a `FILE` with a variant a line, or - for the input")
	f.IntVar(&o.Jobs, "jobs", 2, "how many run at a time")
	f.StringVar(&score, "score", "", "a shell `COMMAND` that prints a number")
	f.BoolVar(&o.Changes, "changes", false, "count the files that each variant has changed, as 'noid diff' does")
	f.StringArrayVarP(&c.Env, "env", "e", nil, "set `KEY=VALUE`; KEY alone takes its value from here")
	f.StringVarP(&c.Dir, "workdir", "w", "", "`directory` to run in (default the image's, else the user's home)")
	f.StringVarP(&c.User, "user", "u", "", "`USER[:GROUP]` to run as, names or numbers (default the image's, else root)")
	durationVar(f, &c.Timeout, "timeout", 0, "end a variant after this long (SIGTERM, SIGKILL 5 s later)")
	durationVar(f, &c.Wait, "wait-timeout", time.Minute, "how long to wait for a guest to be up")
	f.BoolVar(&asJSON, "json", false, "print JSON: each variant as it ends")
	return cmd
}

// maxEach bounds a file of --each, in bytes.
const maxEach = 1 << 20

// variantTexts are what {} stands for: the numbers to n, or the lines of the file each.
func variantTexts(n int, each string) (texts []string, err error) {
	switch {
	case (n == 0) == (each == ""):
		return nil, usageError("explore takes -n N or --each FILE", "-n 4 runs four variants, in which {} is their number")
	case each == "":
		if n < 1 || n > maxForks {
			return nil, usageError(fmt.Sprintf("-n takes 1 to %d variants, not %d", maxForks, n), "")
		}
		for i := range n {
			texts = append(texts, strconv.Itoa(i+1))
		}
		return texts, nil
	}
	in := io.Reader(os.Stdin)
	if each != "-" {
		file, err := os.Open(each)
		if err != nil {
			return nil, errs.New(errs.ErrNotFound, "--each: %w", err)
		}
		defer file.Close()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, maxEach+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxEach:
		return nil, usageError(fmt.Sprintf("--each: %s has more than %d KiB", each, maxEach>>10), "have each line name a file with more")
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" {
			texts = append(texts, line)
		}
	}
	if len(texts) == 0 {
		return nil, usageError(fmt.Sprintf("--each: %s has no lines", each), "write a variant a line")
	}
	return texts, nil
}

// errInterrupted stands for all that goes wrong with a variant after Ctrl+C.
var errInterrupted = errors.New("interrupted")

// explore runs the exploration and shows how each variant went as it ends, and at last all of them.
func (a *app) explore(ctx context.Context, m *vm.Manager, name, ref string, commands [][]string, c vm.Command, o vm.ExploreOptions, asJSON bool) error {
	var jsonErr error
	ended, err := m.Explore(ctx, name, ref, commands, c, o, func(v vm.Variant) {
		if v.Err != nil && ctx.Err() != nil {
			v.Err = errInterrupted
		}
		switch {
		case asJSON && v.State == "ended":
			jsonErr = cmp.Or(jsonErr, printJSON(a.out, api.VariantOf(v, o.Changes)))
		case !asJSON:
			a.say("variant %d: %s", v.N, untrusted.Line(variantState(v), maxCell))
		}
	})
	if ctx.Err() != nil && len(ended) == 0 {
		return errs.WithHint(ctx.Err(), "no variant had ended, and nothing is left of them")
	} else if ended == nil && err != nil {
		return err
	}
	good := slices.ContainsFunc(ended, vm.Variant.Good)
	if !asJSON {
		a.printVariants(name, ended, o.Changes, good)
	}
	switch {
	case err != nil:
		return errs.WithHint(err, fmt.Sprintf("%d of %s ended and are kept: 'noid log %s' shows them; nothing is left of the others",
			len(ended), count(len(commands), "variant"), name))
	case jsonErr != nil:
		return jsonErr
	case !good:
		return codeError{exitFailed}
	}
	return nil
}

func variantState(v vm.Variant) string {
	switch {
	case v.State != "ended":
		return v.State + ": " + v.What
	case errors.Is(v.Err, errInterrupted):
		return v.Err.Error()
	case v.Err != nil:
		return "failed: " + v.Err.Error()
	case v.Exit.TimedOut:
		return "timed out"
	case v.Exit.Error != "":
		return v.Exit.Error
	}
	return fmt.Sprintf("exit %d", v.Exit.Code)
}

// changesColumn is where a table of variants has their changes, if it has.
const changesColumn = 5

func (a *app) printVariants(name string, ended []vm.Variant, changes, good bool) {
	var rows [][]string
	for _, v := range ended {
		output := strings.TrimRight(untrusted.Text(v.Output), "\n")
		output = output[strings.LastIndexByte(output, '\n')+1:]
		row := []string{strconv.Itoa(v.N), v.What, variantState(v), fmt.Sprintf("%.1f s", v.Took.Seconds()), v.Score, v.ID, untrusted.Line(output, 40)}
		if changes {
			n := ""
			if v.ID != "" {
				n = strconv.Itoa(v.Changes)
			}
			row = slices.Insert(row, changesColumn, n)
		}
		rows = append(rows, row)
	}
	header := []string{"variant", "command", "state", "time", "score", "checkpoint", "last line"}
	if changes {
		header = slices.Insert(header, changesColumn, "changes")
	}
	table(a.out, header, rows)
	if good && !a.quiet {
		fmt.Fprintf(a.err, "'noid keep %s VARIANT' makes one of them the vm\n", name)
	}
}

func (a *app) keepCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "keep NAME VARIANT", Short: "Make a variant of the last exploration the VM",
		Long: `Make a variant of the last exploration the VM, memory and all. VARIANT is its number, or the id of its checkpoint. The other
variants are forgotten, but for those that are pinned. What the VM was is kept as a checkpoint: 'noid undo' goes back.
`,
		Example: "  noid keep dev 3",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			u, err := m.KeepVariant(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return a.printUndone(args[0], u, asJSON)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) bisectCmd() *cobra.Command {
	var c vm.Command
	var good, bad string
	cmd := &cobra.Command{
		Use: "bisect [flags] NAME [--] CMD [ARG...]", Short: "Find the checkpoint that first made a command fail",
		Long: `Find the checkpoint that first made a command fail, in a VM's history from --good to --bad. The command is run in throw-away
clones, of few checkpoints of many: 0 is good, 125 cannot be tested, 128 and more end it, anything else is bad, as git
bisect run has it. With 'noid auto NAME exec' it names the command that broke it.
`,
		Example: "  noid bisect dev --good clean --bad 1a2b3c4d -- ./test.sh",
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.Argv = guestWords(args[1:]); len(c.Argv) == 0 {
				return arguments(cmd, args[:1])
			}
			if good == "" || bad == "" {
				return usageError("bisect needs --good and --bad", "name a checkpoint where the command works and one where it fails")
			}
			if err := checkCommand(&c); err != nil {
				return err
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			return a.bisect(cmd.Context(), m, args[0], refOf(args[0], good), refOf(args[0], bad), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&good, "good", "", "a checkpoint `ID` where it works")
	f.StringVar(&bad, "bad", "", "a checkpoint `ID` where it fails")
	commandFlags(f, &c)
	durationVar(f, &c.Wait, "wait-timeout", time.Minute, "how long to wait for a guest to be up")
	return cmd
}

func (a *app) bisect(ctx context.Context, m *vm.Manager, name, good, bad string, c vm.Command) error {
	b, err := m.Bisect(ctx, name, good, bad, c, func(vm.Checkpoint) vm.Streams { return vm.Streams{Out: a.err, Err: a.err} },
		func(tested vm.Checkpoint, e vm.Exit) {
			if !a.quiet {
				fmt.Fprintf(a.err, "noid: %s@%s: exit %d\n", name, tested.ID, e.Code)
			}
		})
	if err != nil {
		return err
	}
	for _, s := range b.Skipped {
		fmt.Fprintf(a.out, "%s cannot be tested\n", s.ID)
	}
	fmt.Fprintf(a.out, "%s is the first bad one\n", b.Bad.ID)
	next := b.Bad.Parent == b.Good.VM+"@"+b.Good.ID // else those between were forgotten
	if why := b.Good.Cause; why.By == vm.ByAuto && why.What != "" && len(b.Skipped) == 0 && next {
		fmt.Fprintf(a.out, "it came after: %s\n", untrusted.Line(why.What, maxCell))
	}
	if len(b.Skipped) > 0 {
		return errors.New("the first bad checkpoint is one of those that cannot be tested, or the one after")
	}
	return nil
}
