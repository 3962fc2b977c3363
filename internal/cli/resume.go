package cli

import (
	"context"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) resumeCmd() *cobra.Command {
	return a.simple("resume", "Let a paused VM run on", "", func(ctx context.Context, m *vm.Manager, name string) error { return m.Resume(ctx, name) })
}
