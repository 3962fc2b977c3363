package cli

import (
	"context"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) stopCmd() *cobra.Command {
	var force bool
	cmd := a.simple("stop", "Ask the guest to shut down, and kill it after 10 s", " --force", func(ctx context.Context, m *vm.Manager, name string) error {
		return m.Stop(ctx, name, force)
	})
	cmd.Flags().BoolVar(&force, "force", false, "kill at once")
	return cmd
}
