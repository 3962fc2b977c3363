package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/vm"
)

func (a *app) checkpointCmd() *cobra.Command {
	var label string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "checkpoint NAME", Short: "Save memory, CPU and disk of a running or paused VM",
		Long:    "Save memory, CPU and disk of a running or paused VM. It prints the checkpoint's id, and on stderr how long the guest stood still.\n",
		Example: "  noid checkpoint dev\n  noid checkpoint dev --label before-upgrade",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			c, err := m.Checkpoint(ctx, args[0], label)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, api.CheckpointOf(vm.CheckpointEntry{Checkpoint: c}))
			}
			fmt.Fprintln(a.out, c.ID)
			if !a.quiet {
				fmt.Fprintf(a.err, "downtime %.0f ms\n", c.DowntimeMs)
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&label, "label", "", "a name for people: one line, at most 200 bytes")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
