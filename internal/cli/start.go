package cli

import (
	"context"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) startCmd() *cobra.Command {
	return a.simple("start", "Boot a stopped or dead VM from its disk", "", func(ctx context.Context, m *vm.Manager, name string) error {
		return m.Start(ctx, name)
	})
}
