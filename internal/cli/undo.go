package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

func (a *app) undoCmd() *cobra.Command {
	return a.travelCmd(&cobra.Command{
		Use: "undo NAME [N]", Short: "Put a VM back to before its last change, or its last N",
		Long: `Put a VM back, memory and all, to before its last change, or its last N. A change is what happened between two checkpoints:
with 'noid auto NAME exec' that is each command. A 'noid try' that went back is none. After a restore, the restore is
undone.
What is left is kept as a checkpoint, and 'noid redo' goes there again.
`,
		Example: "  noid undo dev\n  noid undo dev 3",
	}, (*vm.Manager).Undo)
}

func (a *app) redoCmd() *cobra.Command {
	return a.travelCmd(&cobra.Command{
		Use: "redo NAME [N]", Short: "Take back the last undo, or the last N",
		Long: `Take back the last undo, or the last N. That goes as long as nobody has touched the VM since.
`,
		Example: "  noid redo dev",
	}, (*vm.Manager).Redo)
}

// travelCmd is cmd that does what travel does.
func (a *app) travelCmd(cmd *cobra.Command, travel func(*vm.Manager, context.Context, string, int) (vm.Undone, error)) *cobra.Command {
	var asJSON bool
	cmd.RunE = a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
		n := 1
		if len(args) > 1 {
			var err error
			if n, err = strconv.Atoi(args[1]); err != nil || n < 1 || n > 1_000_000 {
				return usageError(fmt.Sprintf("%s: %.40q is not how many", cmd.Name(), args[1]), "write a number such as 1")
			}
		}
		u, err := travel(m, ctx, args[0], n)
		if err != nil {
			return err
		}
		return a.printUndone(args[0], u, asJSON)
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printUndone says where the VM name is now.
func (a *app) printUndone(name string, u vm.Undone, asJSON bool) error {
	if asJSON {
		return printJSON(a.out, api.UndoneOf(name, u))
	}
	if a.quiet {
		return nil
	}
	what := because(vm.LogEntry{CheckpointEntry: vm.CheckpointEntry{Checkpoint: u.To}})
	if u.To.Labelled() {
		what = u.To.Label
	}
	if what != "" {
		what = " (" + untrusted.Line(what, maxBecause) + ")"
	}
	_, err := fmt.Fprintf(a.err, "vm %q is as it was at %s, %s%s\n", name, u.To.ID, local(u.To.CreatedAt), what)
	return err
}

func (a *app) autoCmd() *cobra.Command {
	return &cobra.Command{
		Use: "auto NAME [exec|TIME|off]", Short: "Have checkpoints made by themselves, or say when they are",
		Long: `Have checkpoints of a VM made by themselves: with exec before each command, cp and shell, with a time such as 5m as often as
that while something happens in the guest, with off never. Without either it says what holds.
Each takes as long as 'noid checkpoint' does, and the command waits for it. Commands of one turn of an agent have one
together: 'noid exec --turn ID'. The newest 100 stay ('noid config set auto_keep N'), besides those that are pinned.
Something happens when a command was run, the disk was written or the guest used more than 4 % of a processor.
`,
		Example: "  noid auto dev exec\n  noid auto dev 5m\n  noid auto dev off",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			if len(args) > 1 {
				return m.SetAuto(ctx, args[0], args[1])
			}
			i, err := m.Info(ctx, args[0])
			if err != nil {
				return err
			}
			if i.Auto == "" {
				i.Auto = "off"
			}
			fmt.Fprintln(a.out, untrusted.Line(i.Auto, maxCell))
			return nil
		}),
	}
}
