package cli

import (
	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) forgetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "forget NAME ID...", Short: "Delete checkpoints", Args: cobra.MinimumNArgs(1),
		Example: "  noid forget dev 1a2b3c4d before-upgrade",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, ref, err := vm.ParseRef(args[0])
			if err != nil {
				return err
			}
			refs := args[1:]
			if ref != "" {
				refs = append([]string{ref}, refs...)
			}
			if len(refs) == 0 {
				return usageError("no checkpoint named", "noid checkpoints "+name+" lists them")
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			return m.Forget(cmd.Context(), name, refs)
		},
	}
}
