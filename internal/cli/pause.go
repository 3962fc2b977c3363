package cli

import (
	"context"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) pauseCmd() *cobra.Command {
	return a.simple("pause", "Stop the processor of a running VM", "", func(ctx context.Context, m *vm.Manager, name string) error { return m.Pause(ctx, name) })
}
