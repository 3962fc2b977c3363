package cli

import (
	"errors"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) attachCmd() *cobra.Command {
	return &cobra.Command{
		Use: "attach NAME ID", Short: "Return to a command that was started with 'exec -d'",
		Long: `Return to a command that was started with 'exec -d': print its output as it comes, and exit with its exit code.
The guest keeps the newest MiB of each stream until somebody has had it. Ctrl+C leaves the command running. 'noid ps'
lists the ids.
`,
		Annotations: map[string]string{ExitStatus: `  The command's own; 125 when noid itself failed, 2 for wrong usage, 130 interrupted.`},
		Example:     "  noid attach dev 1a2b3c4d",
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.manager()
			if err != nil {
				return err
			}
			exit, err := m.Attach(cmd.Context(), args[0], strings.ToLower(args[1]), vm.Streams{Out: a.out, Err: a.err})
			switch {
			case errors.Is(err, syscall.EPIPE):
				return codeError{brokenPipe}
			case err != nil:
				return err
			}
			return a.ended(exit, &vm.Command{})
		},
	}
}
