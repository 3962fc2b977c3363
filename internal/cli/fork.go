package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"noid/internal/untrusted"
	"noid/internal/vm"
)

// maxForks bounds the clones of one fork: a slip of the keyboard must not take the host down.
const maxForks = 1000

// forkJSON is what fork --json prints.
type forkJSON struct {
	VMs        []vmJSON     `json:"vms"`
	Failed     []failedJSON `json:"failed"`
	DowntimeMs float64      `json:"downtime_ms"` // 0 where a checkpoint was forked
}

type failedJSON struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

func (a *app) forkCmd() *cobra.Command {
	var o vm.ForkOptions
	var as, prefix string
	var n int
	var asJSON bool
	cmd := &cobra.Command{
		Use: "fork NAME[@ID]", Short: "Make running copies of a VM, or of a checkpoint", Args: cobra.ExactArgs(1),
		Long: `Make running copies of a running or paused VM. The VM stands still once, and all copies start from that moment. With @ID
they start from a checkpoint of the VM.
Each gets a hostname and a machine-id of its own. Their names are printed, and on stderr what failed: the others run all the same.
`,
		Example: "  noid fork dev --as dev-copy\n  noid fork dev@before-upgrade -n 3 --prefix try-",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, ref, err := vm.ParseRef(args[0])
			if err != nil {
				return err
			}
			flags := cmd.Flags()
			switch {
			case flags.Changed("as") && (flags.Changed("n") || flags.Changed("prefix")):
				return usageError("--as names one copy, -n and --prefix many", "leave one of them out")
			case n < 1 || n > maxForks:
				return usageError(fmt.Sprintf("%d copies", n), fmt.Sprintf("-n takes 1 to %d", maxForks))
			case flags.Changed("as"):
				o.Names = []string{as}
			default:
				if !flags.Changed("prefix") {
					prefix = name + "-"
				}
				for i := range n {
					o.Names = append(o.Names, prefix+strconv.Itoa(i+1))
				}
			}
			for _, clone := range o.Names {
				if err := vm.CheckName(clone); err != nil {
					return err
				}
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			return a.fork(cmd.Context(), m, name, ref, o, asJSON)
		},
	}
	cmd.Flags().StringVar(&as, "as", "", "the name of the one copy")
	cmd.Flags().IntVarP(&n, "n", "n", 1, "how many copies")
	cmd.Flags().StringVar(&prefix, "prefix", "", "what their names begin with, before a number (default the VM's name and '-')")
	cmd.Flags().BoolVar(&o.KeepIdentity, "keep-identity", false, "keep the source's hostname and machine-id")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// fork makes the copies and prints those that were made, and complains of the others.
func (a *app) fork(ctx context.Context, m *vm.Manager, name, ref string, o vm.ForkOptions, asJSON bool) error {
	failed := map[string]error{}
	downtime, err := m.Fork(ctx, name, ref, o, func(clone string, err error) {
		if err == nil && !asJSON {
			fmt.Fprintln(a.out, clone)
		}
		if err == nil {
			return
		}
		failed[clone] = err
		if len(o.Names) > 1 && ctx.Err() == nil { // of Ctrl+C is told once
			a.complain(err)
		}
	})
	if err != nil {
		return err
	}
	if len(failed) == 1 && len(o.Names) == 1 {
		return failed[o.Names[0]]
	}
	if asJSON {
		err = a.printForks(ctx, m, o.Names, failed, downtime)
	} else if ref == "" && !a.quiet && len(failed) == 0 {
		fmt.Fprintf(a.err, "downtime %.0f ms\n", downtime)
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d copies could not be made", len(failed), len(o.Names))
	}
	return err
}

// printForks prints the copies called names, but for those that failed, as JSON.
func (a *app) printForks(ctx context.Context, m *vm.Manager, names []string, failed map[string]error, downtimeMs float64) error {
	j := forkJSON{VMs: []vmJSON{}, Failed: []failedJSON{}, DowntimeMs: downtimeMs}
	for _, name := range names {
		if err := failed[name]; err != nil {
			j.Failed = append(j.Failed, failedJSON{name, untrusted.Text([]byte(err.Error()))})
			continue
		}
		made, err := infoJSON(ctx, m, name)
		if err != nil {
			return err
		}
		j.VMs = append(j.VMs, made)
	}
	return printJSON(a.out, j)
}
