package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"noid/internal/vm"
)

func (a *app) consoleCmd() *cobra.Command {
	return &cobra.Command{
		Use: "console NAME", Short: "Attach to the serial console",
		Long:    "Attach to the serial console. Ctrl+Q detaches, and the VM runs on.\n",
		Example: "  noid console dev\n  echo poweroff | noid console dev",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			c := vm.ConsoleStreams{In: os.Stdin, Out: os.Stdout, Messages: os.Stderr}
			if t := (&terminal{in: int(os.Stdin.Fd())}); term.IsTerminal(t.in) {
				c.Terminal = func() (restore func(), err error) {
					a.say("noid: attached to the console of vm %q; Ctrl+Q detaches, and the VM runs on", args[0])
					return t.raw()
				}
			}
			return m.Console(ctx, args[0], c)
		}),
	}
}
