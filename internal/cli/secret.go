package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/secret"
	"noid/internal/vm"
)

func (a *app) secretCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "secret", Short: "Keep secrets that guests may use and never see", Args: cobra.ArbitraryArgs,
		Long: `Keep secrets that guests may use and never see. In a guest the variable NAME has a placeholder; noid puts the value into
the requests to the secret's host, on their way there.
`,
		Example: "  noid secret set GH_TOKEN --host api.github.com --from-cmd 'gh auth token'\n  noid secret grant GH_TOKEN dev",
		RunE: func(cmd *cobra.Command, args []string) error {
			a.started = false
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return usageError("set, ls, grant, revoke or rm?", "see 'noid secret --help'")
		}}
	cmd.AddCommand(a.secretSetCmd(), a.secretListCmd(), a.secretGrantCmd(), a.secretRevokeCmd(), a.secretRemoveCmd())
	return cmd
}

func (a *app) secretListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List secrets, without their values", Example: "  noid secret ls",
		RunE: a.verb(func(_ context.Context, m *vm.Manager, _ []string) error {
			secrets, err := secret.Store{Dir: m.Home.Dir()}.List()
			list, rows := make([]api.Secret, 0, len(secrets)), [][]string{}
			for _, s := range secrets {
				list = append(list, api.SecretOf(s))
				rows = append(rows, []string{s.Name, strings.Join(s.Hosts, " "), strings.Join(s.Allow, ", "), s.Where, s.Set.Local().Format(time.DateTime)})
			}
			switch {
			case asJSON:
				return errs.Join(printJSON(a.out, list), err)
			case a.quiet:
				a.printColumn(rows)
			default:
				table(a.out, []string{"name", "hosts", "allow", "value in", "set"}, rows)
			}
			return err
		})}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.quietColumn(cmd, "names")
	return cmd
}

func (a *app) secretRemoveCmd() *cobra.Command {
	return &cobra.Command{Use: "rm NAME...", Short: "Forget secrets", Example: "  noid secret rm GH_TOKEN",
		Long: "Forget secrets, with their values, and take them from the VMs that may use them. Their placeholders, in guests and\n" +
			"checkpoints, mean nothing from then on.\n",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			var problems []error
			for _, name := range unique(args) {
				problems = append(problems, m.RemoveSecret(ctx, name))
			}
			return errs.Join(problems...)
		})}
}
