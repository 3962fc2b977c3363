package cli

import (
	"context"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) destroyCmd() *cobra.Command {
	var checkpoints bool
	cmd := &cobra.Command{
		Use: "destroy NAME...", Aliases: []string{"rm"}, Short: "Kill VMs and remove them; their checkpoints stay",
		Example: "  noid destroy dev\n  noid destroy --checkpoints dev",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			exists := m.CheckExists
			if checkpoints {
				exists = m.CheckKnown
			}
			var mu sync.Mutex
			kept := map[string]int{}
			err := a.each(ctx, args, exists, func(ctx context.Context, name string) error {
				n, err := m.Destroy(ctx, name, checkpoints)
				mu.Lock()
				defer mu.Unlock()
				kept[name] = n
				return err
			})
			for _, name := range unique(args) {
				if n := kept[name]; n > 0 && !a.quiet {
					fmt.Fprintf(a.err, "noid: kept %s of %q; 'noid restore %s ID' brings it back, 'noid destroy --checkpoints %s' removes all\n",
						count(n, "checkpoint"), name, name, name)
				}
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&checkpoints, "checkpoints", false, "remove the checkpoints too")
	return cmd
}
