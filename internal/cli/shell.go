package cli

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"noid/internal/vm"
)

func (a *app) shellCmd() *cobra.Command {
	c := vm.Command{Shell: true, Stdin: true}
	cmd := &cobra.Command{
		Use: "shell NAME[@ID]", Short: "Open a login shell in the guest",
		Long: `Open a login shell in the guest, on a terminal of its own. When standard input is not a terminal, the shell has none
either and reads its commands from there. NAME@ID and NAME@now are as in 'noid exec': what is done there is lost.
`,
		Annotations: map[string]string{ExitStatus: `  The shell's own; 128+N for signal N, 125 when noid itself failed, 2 for wrong usage, 130 interrupted.`},
		Example:     "  noid shell dev\n  noid shell dev <script.sh\n  noid shell dev@before-upgrade",
		RunE: func(cmd *cobra.Command, args []string) error {
			c.TTY = term.IsTerminal(int(os.Stdin.Fd()))
			return a.exec(cmd.Context(), args[0], c)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&c.Env, "env", "e", nil, "set `KEY=VALUE`; KEY alone takes its value from here")
	f.StringVarP(&c.Dir, "workdir", "w", "", "`directory` to start in (default the user's home)")
	f.StringVarP(&c.User, "user", "u", "", "`USER[:GROUP]` to be, names or numbers")
	durationVar(f, &c.Wait, "wait-timeout", time.Minute, "how long to wait for the guest to be up")
	return cmd
}
