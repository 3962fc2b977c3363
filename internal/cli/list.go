package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/vm"
)

func (a *app) listCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List all VMs and their states",
		Example: "  noid list\n  noid list --json\n  noid stop $(noid list -q)",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, _ []string) error {
			infos, err := m.List(ctx)
			if err != nil {
				return err
			}
			list, rows := make([]api.VM, 0, len(infos)), [][]string{}
			for _, i := range infos {
				j := api.VMOf(i)
				list = append(list, j)
				pid := "-"
				if j.PID != 0 {
					pid = strconv.Itoa(j.PID)
				}
				rows = append(rows, []string{j.Name, j.State, pid, strconv.Itoa(j.CPUs), strconv.Itoa(j.MemMiB), local(i.CreatedAt)})
			}
			if asJSON {
				return printJSON(a.out, list)
			}
			if a.quiet {
				a.printColumn(rows)
				return nil
			}
			for _, i := range infos {
				if i.Why != "" {
					fmt.Fprintf(a.err, "noid: vm %q is paused: %s\n", i.Name, i.Why)
				}
			}
			table(a.out, []string{"name", "state", "pid", "cpus", "mem (MiB)", "created"}, rows)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.quietColumn(cmd, "names")
	return cmd
}
