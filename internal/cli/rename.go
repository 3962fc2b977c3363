package cli

import (
	"context"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) renameCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rename OLD NEW", Short: "Give a VM and its checkpoints another name",
		Long: `Give a VM and its checkpoints another name, whether it runs or not. Its guest goes on and is not told: its hostname stays until
something in it changes that. Of a VM that was destroyed, the checkpoints get the name.
`,
		Example: "  noid rename dev prod",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			return m.Rename(ctx, args[0], args[1])
		}),
	}
}
