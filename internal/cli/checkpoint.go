package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"noid/internal/checkpoint"
	"noid/internal/home"
	"noid/internal/storage"
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
	DowntimeMs    float64 `json:"downtime_ms"`
	DiskBytes     int64   `json:"disk_bytes"`
	MemoryBytes   int64   `json:"memory_bytes"`
	StateBytes    int64   `json:"state_bytes"`
	Driver        string  `json:"driver"`
	DriverVersion string  `json:"driver_version"`
	NoidVersion   string  `json:"noid_version"`
	// AgentVersion is the noid whose agent the guest runs, Hardware what the driver pinned, CPUModel the host's, which a guest
	// under KVM has seen.
	AgentVersion string            `json:"agent_version,omitempty"`
	Hardware     map[string]string `json:"hardware,omitempty"`
	CPUModel     string            `json:"cpu_model,omitempty"`
	// OwnBytes and SharedBytes are what its files take of the disk, and what other files have too. In 'checkpoints' alone.
	OwnBytes    *int64 `json:"own_bytes,omitempty"`
	SharedBytes *int64 `json:"shared_bytes,omitempty"`
	Error       string `json:"error,omitempty"`
}

func checkpointToJSON(c checkpoint.Record, err error) checkpointJSON {
	j := checkpointJSON{ID: c.ID, VM: c.VM, Label: c.Label, CreatedAt: utc(c.CreatedAt), Parent: c.Parent, Memory: c.Memory, DowntimeMs: c.DowntimeMs,
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

func (a *app) checkpointCmd() *cobra.Command {
	var label string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "checkpoint NAME", Short: "Keep memory, CPU and disk of a running or paused VM; prints the id", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.writer(cmd.Context())
			if err != nil {
				return err
			}
			c, err := m.Checkpoint(cmd.Context(), args[0], label)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, checkpointToJSON(c, nil))
			}
			fmt.Fprintln(a.out, c.ID)
			if !a.quiet {
				fmt.Fprintf(a.err, "downtime %.0f ms\n", c.DowntimeMs)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&label, "label", "", "a name for people")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) checkpointsCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "checkpoints NAME", Short: "List the checkpoints of a VM, which may be destroyed", Args: cobra.ExactArgs(1),
		Long: "List the checkpoints of a VM, which may be destroyed. own is what forgetting a checkpoint would free, shared what other files,\n" +
			"such as another checkpoint's or a VM's, have too.\n" + exitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.manager(cmd.Context(), false)
			if err != nil {
				return err
			}
			list := m.Home.CheckpointLabels // all that the table shows
			if asJSON {
				list = m.Checkpoints
			}
			entries, err := list(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var problems []error
			docs, rows := make([]checkpointJSON, 0, len(entries)), [][]string{}
			occupied, errList := make([]storage.Occupied, len(entries)), make([]error, len(entries))
			storage.Each(len(entries), func(i int) {
				occupied[i], errList[i] = storage.Occupy(cmd.Context(), m.Home.CheckpointDir(entries[i].VM, entries[i].ID), nil)
			})
			for i, e := range entries {
				err := errList[i]
				if errors.Is(err, fs.ErrNotExist) && e.Err == nil {
					continue // forgotten since
				} else if cmd.Context().Err() != nil {
					return err
				} else if e.Err == nil {
					problems = append(problems, err)
				}
				own, shared := occupied[i].Own(), occupied[i].Shared()
				j := checkpointToJSON(e.Record, e.Err)
				j.OwnBytes, j.SharedBytes = &own, &shared
				docs = append(docs, j)
				label, created := e.Label, local(e.CreatedAt)
				if e.Err != nil {
					label, created = "(broken)", "-"
				}
				rows = append(rows, []string{e.ID, label, created, size(own), size(shared)})
			}
			if asJSON {
				problems = append(problems, printJSON(a.out, docs))
			} else {
				table(a.out, []string{"id", "label", "created", "own", "shared"}, rows)
			}
			return errors.Join(problems...)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) restoreCmd() *cobra.Command {
	var o vm.RestoreOptions
	var noBackup bool
	cmd := &cobra.Command{
		Use: "restore NAME ID", Short: "Go back to a checkpoint, or make a new VM from it with --as", Args: cobra.RangeArgs(1, 2),
		Long: "Go back to a checkpoint, or make a new VM from it with --as. ID is an id, the beginning of one, or a label; NAME@ID will do too.\n" +
			"In place, the old VM runs until the new one stands, and its state is kept as a checkpoint (the newest 3 of these stay).\n" + exitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, ref, err := nameAndRef(args)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("as") { // an empty one, from a script's unset variable, would replace the source
				if err := home.CheckName(o.As); err != nil {
					return err
				}
			}
			m, err := a.writer(cmd.Context())
			if err != nil {
				return err
			}
			if o.KeepIdentity && o.As == "" {
				return usageError("--keep-identity without --as", "a restore in place keeps the identity anyway")
			}
			o.Backup = !noBackup
			if err := m.Restore(cmd.Context(), name, ref, o); err != nil {
				return err
			}
			fmt.Fprintln(a.out, or(o.As, name))
			return nil
		},
	}
	cmd.Flags().StringVar(&o.As, "as", "", "make a new VM of this name")
	cmd.Flags().BoolVar(&o.KeepIdentity, "keep-identity", false, "with --as: keep the source's hostname and machine-id")
	cmd.Flags().BoolVar(&noBackup, "no-backup", false, "do not keep the present state as a checkpoint")
	return cmd
}

// nameAndRef takes "vm id" or "vm@id".
func nameAndRef(args []string) (name, ref string, err error) {
	if name, ref, err = home.ParseRef(args[0]); err != nil {
		return "", "", err
	}
	if len(args) == 2 && ref == "" {
		ref = args[1]
		if vm, id, err := home.ParseRef(ref); err == nil && id != "" && vm == name {
			ref = id
		}
	} else if len(args) == 2 || ref == "" {
		return "", "", usageError("a VM's name and a checkpoint's id are needed", "noid checkpoints "+name+" lists them")
	}
	return name, ref, nil
}

func (a *app) forgetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "forget NAME ID...", Short: "Delete checkpoints", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, ref, err := home.ParseRef(args[0])
			if err != nil {
				return err
			}
			refs := args[1:]
			if ref != "" {
				refs = append([]string{ref}, refs...)
			}
			if len(refs) == 0 {
				return usageError("no checkpoint named", "noid checkpoints "+name+" lists them")
			}
			m, err := a.manager(cmd.Context(), true)
			if err != nil {
				return err
			}
			return m.Forget(cmd.Context(), name, refs)
		},
	}
}
