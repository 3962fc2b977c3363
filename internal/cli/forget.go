package cli

import (
	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) forgetCmd() *cobra.Command {
	var all bool
	forget := &cobra.Command{
		Use: "forget NAME ID...", Short: "Delete checkpoints", Args: func(cmd *cobra.Command, args []string) error {
			if all && len(args) == 1 {
				return nil
			}
			return refArguments(cmd, args)
		},
		Example: "  noid forget dev 1a2b3c4d before-upgrade\n  noid forget --all dev",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, ref, err := vm.ParseRef(args[0])
			if err != nil {
				return err
			}
			var refs []string
			if ref != "" {
				refs = append(refs, ref)
			}
			for _, arg := range args[1:] {
				refs = append(refs, refOf(name, arg))
			}
			if all && len(refs) > 0 {
				return usageError("--all deletes all checkpoints of one VM, and an ID names one", "leave one of them out")
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			if all {
				return m.ForgetAll(cmd.Context(), name)
			}
			return m.Forget(cmd.Context(), name, unique(refs))
		},
	}
	forget.Flags().BoolVar(&all, "all", false, "delete all checkpoints of the VM")
	return forget
}
