package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/vm"
)

func (a *app) checkpointsCmd() *cobra.Command {
	var asJSON, sizes bool
	cmd := &cobra.Command{
		Use: "checkpoints [NAME]", Short: "List the checkpoints of a VM, or all",
		Long: `List the checkpoints of a VM, or all, also of VMs that were destroyed.
With --size, own is the disk space that 'noid forget' would free, and shared is the disk space that other files, such as another
checkpoint's or a VM's, use too.
`,
		Example: "  noid checkpoints\n  noid checkpoints dev --size",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
				if err := vm.CheckName(name); err != nil { // an empty one, from a script's unset variable, is not all
					return err
				}
			}
			entries, err := m.Checkpoints(ctx, name, asJSON, sizes)
			if entries == nil && err != nil {
				return err
			}
			docs, rows := make([]api.Checkpoint, 0, len(entries)), [][]string{}
			for _, e := range entries {
				label, created := e.Label, local(e.CreatedAt)
				if e.Err != nil {
					label, created = "(broken)", "-"
				}
				j, row := api.CheckpointOf(e), []string{e.ID, label, created}
				if name == "" && a.quiet {
					row[0] = e.VM + "@" + e.ID
				} else if name == "" {
					row = slices.Insert(row, 0, e.VM)
				}
				if e.Size != nil {
					row = append(row, size(*j.OwnBytes), size(*j.SharedBytes))
				}
				docs, rows = append(docs, j), append(rows, row)
			}
			if asJSON {
				return errs.Join(err, printJSON(a.out, docs))
			}
			if a.quiet {
				a.printColumn(rows)
				return err
			}
			header := []string{"id", "label", "created"}
			if name == "" {
				header = slices.Insert(header, 0, "vm")
			}
			if sizes {
				header = append(header, "own", "shared")
			}
			table(a.out, header, rows)
			return err
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.quietColumn(cmd, "ids")
	cmd.Flags().BoolVar(&sizes, "size", false, "show what each takes of the disk")
	return cmd
}
