package cli

import (
	"context"

	"github.com/spf13/cobra"

	"noid/internal/errs"
	"noid/internal/vm"
)

func (a *app) secretGrantCmd() *cobra.Command {
	return &cobra.Command{Use: "grant NAME VM...", Short: "Let VMs use a secret", Example: "  noid secret grant GH_TOKEN dev",
		Long: `Let VMs use a secret, at once. Commands that start from now on have its placeholder in the variable NAME, and the guest trusts
the certificates of noid's home from its next command on. It lasts until 'noid secret revoke'; a clone does not have it.
`,
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			return a.each(ctx, args[1:], isVM(m, args, "grant"), func(ctx context.Context, name string) error {
				return m.GrantSecrets(ctx, name, args[:1])
			})
		})}
}

func (a *app) secretRevokeCmd() *cobra.Command {
	return &cobra.Command{Use: "revoke NAME VM...", Short: "Take a secret from VMs", Example: "  noid secret revoke GH_TOKEN dev",
		Long: "Take a secret from VMs, at once: from the next request on. Its placeholder, which they still have, means nothing then.\n",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			return a.each(ctx, args[1:], isVM(m, args, "revoke"), func(ctx context.Context, name string) error {
				return m.RevokeSecrets(ctx, name, args[:1])
			})
		})}
}

// isVM refuses what is no VM. It has a hint for who wrote the VM before the secret.
func isVM(m *vm.Manager, args []string, verb string) func(string) error {
	return func(name string) error {
		err := m.CheckExists(name)
		if err == nil || len(args) != 2 || m.CheckExists(args[0]) != nil {
			return err
		}
		return errs.WithHint(err, "did you mean 'noid secret "+verb+" "+name+" "+args[0]+"'?")
	}
}
