package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"noid/internal/checkpoint"
	"noid/internal/home"
	"noid/internal/untrusted"
)

// verdictJSON is a checkpoint in 'verify --json'.
type verdictJSON struct {
	VM      string `json:"vm"`
	ID      string `json:"id"`
	Label   string `json:"label"`
	Sound   bool   `json:"sound"`
	Problem string `json:"problem,omitempty"`
	Note    string `json:"note,omitempty"`
}

func (a *app) verifyCmd() *cobra.Command {
	var readData, asJSON bool
	cmd := &cobra.Command{
		Use: "verify [NAME[@ID]]", Short: "Hold checkpoints against what was saved: one, all of a VM, or all", Args: cobra.MaximumNArgs(1),
		Long: "Hold checkpoints against what was saved: one, all of a VM, which may be destroyed, or all. It looks at manifests, small files,\n" +
			"lengths and times of change; with --read-data at every byte. Each checkpoint is whole: none needs another one.\n" +
			"Damage is named, and exits 1.\n" + exitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.manager(cmd.Context(), false)
			if err != nil {
				return err
			}
			var name, ref string
			if len(args) > 0 {
				if name, ref, err = home.ParseRef(args[0]); err != nil {
					return err
				}
			}
			verdicts, err := m.Verify(cmd.Context(), name, ref, readData, func(c checkpoint.Record, file string, length int64) {
				a.say("reading %s@%s %s, %d MiB", c.VM, c.ID, file, length>>20)
			})
			if err != nil {
				return err
			}
			list, rows, bad := make([]verdictJSON, 0, len(verdicts)), [][]string{}, 0
			for _, v := range verdicts {
				j := verdictJSON{VM: v.VM, ID: v.ID, Label: v.Label, Sound: v.Problem == nil, Note: v.Note}
				word := or(v.Note, "sound")
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
		},
	}
	cmd.Flags().BoolVar(&readData, "read-data", false, "read every byte")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
