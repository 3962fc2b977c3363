package cli

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"noid/internal/errs"
	"noid/internal/vm"
)

// occupiedJSON is what files take of the disk, in --json.
type occupiedJSON struct {
	OwnBytes    int64 `json:"own_bytes"`
	SharedBytes int64 `json:"shared_bytes"`
}

// vmUsageJSON is a VM in 'du --json'.
type vmUsageJSON struct {
	Name string `json:"name"`
	occupiedJSON
	Checkpoints   int          `json:"checkpoints"`
	OfCheckpoints occupiedJSON `json:"of_checkpoints"`
	TotalBytes    int64        `json:"total_bytes"`
}

// usageJSON is 'du --json'.
type usageJSON struct {
	VMs        []vmUsageJSON `json:"vms"`
	Images     *occupiedJSON `json:"images,omitempty"`
	Kernels    *occupiedJSON `json:"kernels,omitempty"`
	Templates  *occupiedJSON `json:"templates,omitempty"`
	Other      *occupiedJSON `json:"other,omitempty"`
	TotalBytes int64         `json:"total_bytes"`
}

func occupiedToJSON(o *vm.Occupied) *occupiedJSON {
	if o == nil {
		return nil
	}
	return &occupiedJSON{o.Own(), o.Shared()}
}

func usageToJSON(u vm.Usage) usageJSON {
	j := usageJSON{VMs: []vmUsageJSON{}, Images: occupiedToJSON(u.Images), Kernels: occupiedToJSON(u.Kernels), Templates: occupiedToJSON(u.Templates), Other: occupiedToJSON(u.Other),
		TotalBytes: u.Total.Total()}
	for _, v := range u.VMs {
		j.VMs = append(j.VMs, vmUsageJSON{v.Name, *occupiedToJSON(&v.VM), v.Checkpoints, *occupiedToJSON(&v.OfCheckpoints), v.Total.Total()})
	}
	return j
}

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
			j := usageToJSON(u)
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

func usageTable(w io.Writer, u usageJSON) {
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
		*occupiedJSON
	}{{"(images)", u.Images}, {"(kernels)", u.Kernels}, {"(templates)", u.Templates}, {"(other)", u.Other}} {
		if part.occupiedJSON != nil {
			rows = append(rows, []string{part.name, size(part.OwnBytes), size(part.SharedBytes), "-", "-", "-", size(part.OwnBytes + part.SharedBytes)})
		}
	}
	rows = append(rows, []string{"(total)", "-", "-", strconv.Itoa(checkpoints), "-", "-", size(u.TotalBytes)})
	table(w, []string{"name", "own", "shared", "checkpoints", "their own", "their shared", "total"}, rows)
}
