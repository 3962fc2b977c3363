package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) destroyCmd() *cobra.Command {
	var checkpoints bool
	cmd := &cobra.Command{
		Use: "destroy NAME...", Aliases: []string{"rm"}, Short: "Kill VMs and remove them; their checkpoints stay", Args: cobra.MinimumNArgs(1),
		Example: "  noid destroy dev\n  noid destroy --checkpoints dev",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			var first error
			for _, name := range args {
				kept, err := m.Destroy(ctx, name, checkpoints)
				switch {
				case err != nil && first == nil:
					first = err
				case err != nil:
					a.complain(err)
				case kept > 0 && !a.quiet:
					fmt.Fprintf(a.err, "noid: %d checkpoints of %q stay; 'noid restore %s ID' brings it back, 'noid destroy --checkpoints %s' removes them\n", kept, name, name, name)
				}
			}
			return first
		}),
	}
	cmd.Flags().BoolVar(&checkpoints, "checkpoints", false, "remove the checkpoints too")
	return cmd
}
