package cli

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"noid/internal/untrusted"
	"noid/internal/vm"
)

func (a *app) logsCmd() *cobra.Command {
	var o vm.LogOptions
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "Print the log of the console, or of the VMM",
		Example: "  noid logs -f dev\n  noid logs --vmm dev",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			out := untrusted.NewWriter(a.out) // the guest wrote it: no escape sequence may reach a terminal
			err := m.Logs(ctx, args[0], o, out)
			return cmp.Or(err, out.Flush())
		}),
	}
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on as more is written")
	cmd.Flags().BoolVar(&o.VMM, "vmm", false, "the VMM's own log")
	return cmd
}
