package cli

import (
	"context"

	"github.com/spf13/cobra"

	"noid/internal/vm"
)

func (a *app) secretGrantCmd() *cobra.Command {
	return &cobra.Command{Use: "grant NAME VM...", Short: "Let VMs use a secret", Example: "  noid secret grant GH_TOKEN dev",
		Long: `Let VMs use a secret, at once. Commands that start from now on have its placeholder in the variable NAME, and the guest trusts
the certificates of noid's home from its next command on. It lasts until 'noid secret revoke'; a clone does not have it.
`,
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			return a.each(ctx, args[1:], m.CheckExists, func(ctx context.Context, name string) error {
				return m.GrantSecrets(ctx, name, args[:1])
			})
		})}
}

func (a *app) secretRevokeCmd() *cobra.Command {
	return &cobra.Command{Use: "revoke NAME VM...", Short: "Take a secret from VMs", Example: "  noid secret revoke GH_TOKEN dev",
		Long: "Take a secret from VMs, at once: from the next request on. Its placeholder, which they still have, means nothing then.\n",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			return a.each(ctx, args[1:], m.CheckExists, func(ctx context.Context, name string) error {
				return m.RevokeSecrets(ctx, name, args[:1])
			})
		})}
}
