package cli

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"noid/internal/untrusted"
	"noid/internal/vm"
)

// verdictJSON is a checkpoint in 'verify --json'.
type verdictJSON struct {
	VM      string   `json:"vm"`
	ID      string   `json:"id"`
	Label   string   `json:"label"`
	Sound   bool     `json:"sound"`
	Problem string   `json:"problem,omitempty"`
	Note    string   `json:"note,omitempty"`
	Secrets []string `json:"secrets,omitempty"`
}

func (a *app) verifyCmd() *cobra.Command {
	var readData, scan, asJSON bool
	cmd := &cobra.Command{
		Use: "verify [NAME[@ID]]", Short: "Check that checkpoints are as they were saved",
		Long: `Check that checkpoints are as they were saved: one, all of a VM, also of one that was destroyed, or all.
It looks at records, small files, lengths and times of change. With --read-data it reads
every byte. Damage is named, and the exit code is then 1.

--scan-secrets also looks in memory and disks for the values of all secrets of 'noid secret ls': as they are, in URLs and in
base64. A checkpoint that has one is named, with exit code 1. What a guest has compressed or encrypted hides them.
`,
		Example: "  noid verify\n  noid verify dev@before-upgrade --read-data",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) (err error) {
			var name, ref string
			if len(args) > 0 {
				if name, ref, err = vm.ParseRef(args[0]); err != nil {
					return err
				}
			}
			verdicts, err := m.Verify(ctx, name, ref, readData, func(c vm.Checkpoint, file string, length int64) {
				a.say("reading %s@%s %s, %d MiB", c.VM, c.ID, file, length>>20)
			})
			if err != nil {
				return err
			}
			if scan {
				err = m.ScanSecrets(ctx, verdicts, func(c vm.Checkpoint, file string) {
					a.say("looking for secrets in %s@%s %s", c.VM, c.ID, file)
				})
				if err != nil {
					return err
				}
			}
			list, rows, bad := make([]verdictJSON, 0, len(verdicts)), [][]string{}, 0
			for _, v := range verdicts {
				j := verdictJSON{VM: v.VM, ID: v.ID, Label: v.Label, Sound: v.Problem == nil, Note: v.Note, Secrets: v.Secrets}
				word := cmp.Or(v.Note, "sound")
				if v.Problem != nil {
					bad++
					j.Problem = untrusted.Text([]byte(v.Problem.Error()))
					word = j.Problem
				}
				list, rows = append(list, j), append(rows, []string{v.VM, v.ID, v.Label, word})
			}
			if asJSON {
				err = printJSON(a.out, list)
			} else {
				table(a.out, []string{"vm", "id", "label", "verdict"}, rows)
			}
			if err == nil && bad > 0 {
				err = fmt.Errorf("%d of %d checkpoints cannot be trusted", bad, len(verdicts))
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&readData, "read-data", false, "read every byte")
	cmd.Flags().BoolVar(&scan, "scan-secrets", false, "look for the values of secrets")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
