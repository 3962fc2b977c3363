package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"noid/internal/config"
	"noid/internal/vm"
)

func (a *app) resizeCmd() *cobra.Command {
	var disk string
	cmd := &cobra.Command{
		Use: "resize NAME", Short: "Make a VM's disk larger",
		Long: `Make a VM's disk larger, while the VM runs or not. The guest's file system follows at once, or when the VM boots next. A disk
never becomes smaller. What the guest does not write takes no space. A resize that was interrupted can be repeated.
`,
		Example: "  noid resize dev --disk 20G",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			if disk == "" {
				return usageError("--disk needs a value", "write --disk 20G")
			}
			mib, err := config.ParseDisk(disk)
			if err != nil {
				return fmt.Errorf("--disk: %w", err)
			}
			return m.Resize(ctx, args[0], mib)
		}),
	}
	cmd.Flags().StringVar(&disk, "disk", "", "the disk's new size in MiB, or with a unit: 20G")
	return cmd
}
