package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"
)

// pauseGuardVerb is the hidden verb that waits beside a checkpoint; see vm.Manager.PauseGuardCommand.
const pauseGuardVerb = "pause-guard"

func (a *app) pauseGuardCmd() *cobra.Command {
	return &cobra.Command{
		Use: pauseGuardVerb, Hidden: true, Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if n, _ := os.Stdin.Read(make([]byte, 1)); n > 0 {
				return nil // the guest runs
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			return m.LetRun(context.WithoutCancel(cmd.Context()), args[0], args[1:])
		},
	}
}
