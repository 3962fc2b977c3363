package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"noid/internal/setup"
)

func (a *app) doctorCmd() *cobra.Command {
	var repair, asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Say what this host can do, and the cure for what it cannot",
		Example: "  noid doctor\n  noid doctor --repair",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			m, err := a.manager()
			if err != nil {
				return err
			}
			if repair {
				report, err := m.Home.Repair(ctx)
				if err != nil {
					return err
				}
				w := a.out
				if asJSON { // stdout is one document
					w = a.err
				}
				fmt.Fprintln(w, report)
			}
			checks, canRun := setup.Checks(ctx, a.setupOptions(m))
			if err := ctx.Err(); err != nil {
				return err
			}
			if asJSON {
				err = printJSON(a.out, checks)
			} else {
				printChecks(a.out, checks)
			}
			if err == nil && !canRun {
				err = codeError{exitHost}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "rebuild the index from the records beside the VMs")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printChecks(w io.Writer, checks []setup.Check) {
	for _, c := range checks {
		mark := "✓"
		if !c.OK {
			mark = "✗"
		}
		fmt.Fprintf(w, "%s %s: %s\n", mark, c.Name, c.Detail)
		if c.Cure != "" {
			fmt.Fprintf(w, "  hint: %s\n", c.Cure)
		}
	}
}
