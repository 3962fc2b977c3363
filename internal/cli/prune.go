package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) pruneCmd() *cobra.Command {
	var cache bool
	cmd := &cobra.Command{
		Use: "prune --cache", Short: "Remove what noid can make again",
		Long: `Remove what noid can make again: all templates, and the kernels and initramfs files that no VM and no checkpoint boots from.
The next 'create' takes longer. No VM, checkpoint or image is touched. 'noid du' shows what there is.
`,
		Example: "  noid prune --cache",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, _ []string) error {
			if !cache {
				return usageError("prune: nothing is named to remove", "write 'noid prune --cache'")
			}
			freed, err := m.PruneCache(ctx)
			if err == nil && !a.quiet {
				fmt.Fprintf(a.err, "freed %s\n", size(freed))
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&cache, "cache", false, "templates, and kernels that nothing boots from")
	return cmd
}
