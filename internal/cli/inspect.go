package cli

import (
	"context"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/vm"
)

func (a *app) inspectCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect NAME", Short: "Print all that is known of a VM, as JSON",
		Example: "  noid inspect dev",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			d, err := m.Inspect(ctx, args[0])
			if err != nil {
				return err
			}
			return printJSON(a.out, api.DetailsOf(d))
		}),
	}
	cmd.Flags().Bool("json", true, "print JSON, the only form")
	return cmd
}
