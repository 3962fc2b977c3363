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
		Long: `Say what this host can do, and the cure for what it cannot. --json says more: versions, the host, the home's file system,
what noid would use. A bug report begins with it.
`,
		Example: "  noid doctor\n  noid doctor --json\n  noid doctor --repair",
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
			driver, err := driverWish(m.Drivers, "")
			if err == nil {
				driver, err = m.ChooseDriver(ctx, driver)
			}
			if err != nil {
				return err
			}
			report := setup.Examine(ctx, a.setupOptions(m), driver)
			if err := ctx.Err(); err != nil {
				return err
			}
			if asJSON {
				err = printJSON(a.out, struct {
					Noid map[string]any `json:"noid"`
					setup.Report
				}{versionInfo(), report})
			} else {
				printChecks(a.out, report.Checks)
			}
			if err == nil && !report.CanRun {
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
