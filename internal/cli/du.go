package cli

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/errs"
)

func (a *app) duCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "du [NAME...]", Short: "Show the disk space of VMs, checkpoints and the home",
		Long: `Show the disk space of VMs and of their checkpoints, also of VMs that were destroyed.
Without a name, show all else in the home too.

own is the space that removing these would free. shared is the space that other files use too, by reflink or by another name.
total is the space of the VM and its checkpoints together, with each block counted once. Compression is not seen.
`,
		Example: "  noid du\n  noid du dev",
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.manager()
			if err == nil {
				err = checkAll(args, m.CheckKnown)
			}
			if err != nil {
				return err
			}
			u, err := m.Usage(cmd.Context(), args)
			j := api.UsageOf(u)
			if cmd.Context().Err() != nil {
				return err
			}
			if asJSON {
				return errs.Join(printJSON(a.out, j), err)
			}
			usageTable(a.out, j)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func usageTable(w io.Writer, u api.Usage) {
	var rows [][]string
	checkpoints := 0
	for _, v := range u.VMs {
		checkpoints += v.Checkpoints
		rows = append(rows, []string{v.Name, size(v.OwnBytes), size(v.SharedBytes), strconv.Itoa(v.Checkpoints), size(v.OfCheckpoints.OwnBytes),
			size(v.OfCheckpoints.SharedBytes), size(v.TotalBytes)})
	}
	// No VM's name has a parenthesis.
	for _, part := range []struct {
		name string
		*api.Occupied
	}{{"(images)", u.Images}, {"(kernels)", u.Kernels}, {"(templates)", u.Templates}, {"(other)", u.Other}} {
		if part.Occupied != nil {
			rows = append(rows, []string{part.name, size(part.OwnBytes), size(part.SharedBytes), "-", "-", "-", size(part.OwnBytes + part.SharedBytes)})
		}
	}
	rows = append(rows, []string{"(total)", "-", "-", strconv.Itoa(checkpoints), "-", "-", size(u.TotalBytes)})
	table(w, []string{"name", "own", "shared", "checkpoints", "their own", "their shared", "total"}, rows)
}
