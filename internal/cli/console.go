package cli

import (
	"os"

	"github.com/spf13/cobra"

	"noid/internal/console"
)

func (a *app) consoleCmd() *cobra.Command {
	return &cobra.Command{
		Use: "console NAME", Short: "Attach to the serial console; Ctrl+Q detaches, the VM keeps running", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, info, err := a.live(cmd.Context(), args[0], "console")
			if err != nil {
				return err
			}
			if err := touch(cmd.Context(), m, info); err != nil {
				return err
			}
			return console.Attach(cmd.Context(), m.Home.VMDir(args[0]), console.AttachOptions{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Alive: info.Alive()})
		},
	}
}
