package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"noid/internal/untrusted"
	"noid/internal/vm"
)

func (a *app) logsCmd() *cobra.Command {
	o := vm.LogOptions{Last: -1}
	var tail string
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "Print the log of the console, or of the VMM",
		Example: "  noid logs -f --tail 20 dev\n  noid logs --vmm dev",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			if tail != "all" {
				n, err := strconv.ParseUint(tail, 10, 31)
				if err != nil {
					return usageError(fmt.Sprintf("--tail: %q is no number of lines", tail), "write --tail 20, or 'all'")
				}
				o.Last = int(n)
			}
			out := untrusted.NewWriter(a.out) // the guest wrote it: no escape sequence may reach a terminal
			err := m.Logs(ctx, args[0], o, out)
			return cmp.Or(err, out.Flush())
		}),
	}
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on as more is written")
	cmd.Flags().StringVarP(&tail, "tail", "n", "all", "how many lines of its end")
	cmd.Flags().BoolVar(&o.VMM, "vmm", false, "the VMM's own log")
	return cmd
}
