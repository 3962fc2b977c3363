package cli

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"noid/internal/errs"
	"noid/internal/link/wire"
)

func (a *app) shellCmd() *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use: "shell NAME", Short: "Open a login shell in the guest, on a terminal of its own", Args: cobra.ExactArgs(1),
		Long: `Open a login shell in the guest, on a terminal of its own. When standard input is not a terminal, the shell has none
either and reads its commands from there.

EXIT STATUS
  The shell's own; 128+N for signal N, 125 when noid itself failed, 2 for wrong usage, 130 interrupted.
`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.shell(cmd.Context(), args[0], o) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.env, "env", "e", nil, "set `KEY=VALUE`; KEY alone takes its value from here")
	f.StringVarP(&o.dir, "workdir", "w", "", "`directory` to start in (default the user's home)")
	f.StringVarP(&o.user, "user", "u", "", "`USER[:GROUP]` to be, names or numbers")
	f.DurationVar(&o.wait, "wait-timeout", time.Minute, "how long to wait for the guest to be up")
	return cmd
}

func (a *app) shell(ctx context.Context, name string, o execOptions) error {
	o.stdin, o.tty = true, term.IsTerminal(int(os.Stdin.Fd()))
	if err := o.check(); err != nil {
		return err
	}
	m, info, err := a.recorded(ctx, name, "shell")
	if err != nil {
		return err
	}
	if !hasAgent(info) {
		return noAgent("shell", name, "'noid console "+name+"' attaches to its console")
	}
	c, err := m.Agent(info)
	if err != nil {
		return err
	}
	c.Patience = max(o.wait, time.Millisecond)
	if err := a.introduce(ctx, m, c, info, c.Patience); err != nil {
		return execError(name, err)
	}
	e := wire.Exec{Shell: true, Env: bytesOf(o.env), Dir: o.dir, User: o.user, TTY: o.tty, Stdin: true}
	return a.execAgent(ctx, c, name, e, o)
}

// noAgent is the error of a verb that needs the agent in a VM that was made without.
func noAgent(verb, name, hint string) error {
	return errs.New(errs.ErrState, "%s: vm %q has no agent in its guest", verb, name).Hint(hint)
}
