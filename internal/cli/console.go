package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) consoleCmd() *cobra.Command {
	return &cobra.Command{
		Use: "console NAME", Short: "Attach to the serial console", Args: cobra.ExactArgs(1),
		Long:    "Attach to the serial console. Ctrl+Q detaches, and the VM runs on.\n",
		Example: "  noid console dev\n  echo poweroff | noid console dev",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			return m.Attach(ctx, args[0], os.Stdin, os.Stdout, os.Stderr)
		}),
	}
}
