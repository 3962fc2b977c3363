package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// maxForks bounds the clones of one fork: a slip of the keyboard must not take the host down.
const maxForks = 1000

// forkJSON is what fork --json prints.
type forkJSON struct {
	VMs        []api.VM     `json:"vms"`
	Failed     []failedJSON `json:"failed"`
	DowntimeMs float64      `json:"downtime_ms"` // 0 where a checkpoint was forked
}

type failedJSON struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

func (a *app) forkCmd() *cobra.Command {
	var o vm.ForkOptions
	var asJSON bool
	var ports portFlags
	cmd := &cobra.Command{
		Use: "fork NAME[@ID]", Short: "Make running copies of a VM, or of a checkpoint",
		Long: `Make running copies of a running or paused VM. The VM stands still once, and all copies start from that moment. With @ID
they start from a checkpoint of the VM.
Each gets a hostname and a machine-id of its own. Without --as they are called dev-1, dev-2 and so on, by the lowest
numbers that are free.
Their names are printed, and on stderr what failed: the others run all the same.
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
			case o.N < 1 || o.N > maxForks:
				return usageError(fmt.Sprintf("-n takes 1 to %d copies, not %d", maxForks, o.N), "")
			case !flags.Changed("prefix"):
				o.Prefix = name + "-"
			}
			first := o.Prefix + strconv.Itoa(o.N)
			if flags.Changed("as") {
				first = o.As
			}
			if err := vm.CheckName(first); err != nil {
				return err
			}
			if o.Ports, err = ports.groups(); err != nil {
				return err
			}
			o.Secrets, o.Networks = ports.secrets, ports.networks
			if o.Sockets, err = ports.sockets(); err != nil {
				return err
			}
			if err := forkSockets(o.N, o.Sockets); err != nil {
				return err
			}
			if err := forkPorts(o.N, o.Ports); err != nil {
				return err
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			return a.fork(cmd.Context(), m, name, ref, o, asJSON)
		},
	}
	cmd.Flags().StringVar(&o.As, "as", "", "the name of the one copy")
	cmd.Flags().IntVarP(&o.N, "n", "n", 1, "how many copies")
	cmd.Flags().StringVar(&o.Prefix, "prefix", "", "what their names begin with, before the next free number (default the VM's name and '-')")
	ports.add(cmd.Flags())
	cmd.Flags().BoolVar(&o.KeepIdentity, "keep-identity", false, "keep the source's hostname and machine-id")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// fork makes the copies and prints those that were made, and complains of the others.
func (a *app) fork(ctx context.Context, m *vm.Manager, name, ref string, o vm.ForkOptions, asJSON bool) error {
	var made, unmade []string
	var problems []error // of those in unmade
	downtime, err := m.Fork(ctx, name, ref, o, func(clone string, err error) {
		if err == nil {
			if made = append(made, clone); !asJSON {
				fmt.Fprintln(a.out, clone)
				a.tellPorts(ctx, m, clone, o.Ports)
			}
			return
		}
		unmade, problems = append(unmade, clone), append(problems, err)
		if o.N > 1 && ctx.Err() == nil { // of Ctrl+C is told once
			a.complain(err)
		}
	})
	switch {
	case err != nil:
		return err
	case len(problems) > 0 && o.N == 1:
		return problems[0]
	case asJSON:
		err = a.printForks(ctx, m, made, unmade, problems, downtime)
	case ref == "" && !a.quiet && len(problems) == 0:
		fmt.Fprintf(a.err, "downtime %.0f ms\n", downtime)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d of %d copies could not be made", len(problems), o.N)
	}
	return err
}

// printForks prints, as JSON, the copies that were made, and the names of the others with their problems.
func (a *app) printForks(ctx context.Context, m *vm.Manager, made, unmade []string, problems []error, downtimeMs float64) error {
	j := forkJSON{VMs: []api.VM{}, Failed: []failedJSON{}, DowntimeMs: downtimeMs}
	for i, name := range unmade {
		j.Failed = append(j.Failed, failedJSON{name, untrusted.Text([]byte(problems[i].Error()))})
	}
	slices.SortFunc(made, func(x, y string) int { return cmp.Or(len(x)-len(y), strings.Compare(x, y)) }) // d-2 before d-10
	for _, name := range made {
		info, err := infoJSON(ctx, m, name)
		if err != nil {
			return err
		}
		j.VMs = append(j.VMs, info)
	}
	return printJSON(a.out, j)
}
