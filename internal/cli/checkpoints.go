package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// checkpointJSON is a checkpoint in --json.
type checkpointJSON struct {
	ID            string  `json:"id"`
	VM            string  `json:"vm"`
	Label         string  `json:"label"`
	CreatedAt     string  `json:"created_at"`
	Parent        string  `json:"parent,omitempty"`
	Memory        bool    `json:"memory"`
	Synced        bool    `json:"synced"` // the guest had written back to its disk
	DowntimeMs    float64 `json:"downtime_ms"`
	DiskBytes     int64   `json:"disk_bytes"`
	MemoryBytes   int64   `json:"memory_bytes"`
	StateBytes    int64   `json:"state_bytes"`
	Driver        string  `json:"driver"`
	DriverVersion string  `json:"driver_version"`
	NoidVersion   string  `json:"noid_version"`
	// AgentVersion is the noid whose agent the guest runs, Hardware what the driver pinned, CPUModel the host's, which
	// a guest under KVM has seen.
	AgentVersion string            `json:"agent_version,omitempty"`
	Hardware     map[string]string `json:"hardware,omitempty"`
	CPUModel     string            `json:"cpu_model,omitempty"`
	// OwnBytes and SharedBytes are what its files take of the disk, and what other files have too. In 'checkpoints
	// --size' alone.
	OwnBytes    *int64 `json:"own_bytes,omitempty"`
	SharedBytes *int64 `json:"shared_bytes,omitempty"`
	Error       string `json:"error,omitempty"`
}

func checkpointToJSON(c vm.Checkpoint, err error) checkpointJSON {
	j := checkpointJSON{ID: c.ID, VM: c.VM, Label: c.Label, CreatedAt: utc(c.CreatedAt), Parent: c.Parent, Memory: c.Memory, Synced: c.Synced, DowntimeMs: c.DowntimeMs,
		DiskBytes: c.DiskBytes, MemoryBytes: c.MemoryBytes, StateBytes: c.StateBytes, Driver: c.Machine.Driver,
		DriverVersion: c.Machine.DriverVersion, NoidVersion: c.NoidVersion, AgentVersion: c.AgentVersion, Hardware: c.Machine.Hardware}
	if c.Host != nil {
		j.CPUModel = c.Host.CPUModel
	}
	if err != nil {
		j.Error = untrusted.Text([]byte(err.Error()))
	}
	return j
}

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
			docs, rows := make([]checkpointJSON, 0, len(entries)), [][]string{}
			for _, e := range entries {
				label, created := e.Label, local(e.CreatedAt)
				if e.Err != nil {
					label, created = "(broken)", "-"
				}
				j, row := checkpointToJSON(e.Checkpoint, e.Err), []string{e.ID, label, created}
				if name == "" && a.quiet {
					row[0] = e.VM + "@" + e.ID
				} else if name == "" {
					row = slices.Insert(row, 0, e.VM)
				}
				if e.Size != nil {
					own, shared := e.Size.Own(), e.Size.Shared()
					j.OwnBytes, j.SharedBytes = &own, &shared
					row = append(row, size(own), size(shared))
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
