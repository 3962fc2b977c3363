package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"noid/internal/console"
	"noid/internal/vm"
	"noid/internal/vmm"
)

// vmJSON is a VM in list --json.
type vmJSON struct {
	Name      string `json:"name"`
	State     string `json:"state"`
	PID       int    `json:"pid,omitempty"`
	CPUs      int    `json:"cpus"`
	MemMiB    int    `json:"mem_mib"`
	Driver    string `json:"driver"`
	CreatedAt string `json:"created_at"`
	Error     string `json:"error,omitempty"`
}

func toJSON(i vm.Info) vmJSON {
	j := vmJSON{Name: i.Name, State: string(i.State), CPUs: i.Machine.CPUs, MemMiB: i.Machine.MemMiB, Driver: i.Machine.Driver, CreatedAt: utc(i.CreatedAt)}
	if i.State == vmm.Running || i.State == vmm.Paused {
		j.PID = i.Process.PID
	}
	if i.Err != nil {
		j.Error = console.Sanitize([]byte(i.Err.Error()))
	}
	return j
}

func (a *app) listCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List all VMs and their states", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.manager(cmd.Context(), false)
			if err != nil {
				return err
			}
			infos, err := m.List(cmd.Context())
			if err != nil {
				return err
			}
			list, rows := make([]vmJSON, 0, len(infos)), [][]string{}
			for _, i := range infos {
				j := toJSON(i)
				list = append(list, j)
				pid := "-"
				if j.PID != 0 {
					pid = strconv.Itoa(j.PID)
				}
				rows = append(rows, []string{j.Name, j.State, pid, strconv.Itoa(j.CPUs), strconv.Itoa(j.MemMiB), local(i.CreatedAt)})
			}
			if asJSON {
				return printJSON(a.out, list)
			}
			table(a.out, []string{"name", "state", "pid", "cpus", "mem (MiB)", "created"}, rows)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) inspectCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect NAME", Short: "Print all that is known of a VM, as JSON", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.manager(cmd.Context(), false)
			if err != nil {
				return err
			}
			i, err := m.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			dir := m.Home.VMDir(i.Name)
			return printJSON(a.out, struct {
				vmJSON
				DriverVersion string            `json:"driver_version"`
				Dir           string            `json:"dir"`
				Kernel        string            `json:"kernel"`
				BootKernel    string            `json:"boot_kernel"`
				Initrd        string            `json:"initrd"`
				Rootfs        string            `json:"rootfs"`
				BootArgs      string            `json:"boot_args"`
				Hardware      map[string]string `json:"hardware"`
				RestoredFrom  string            `json:"restored_from,omitempty"`
				Agent         bool              `json:"agent"`
				LastError     string            `json:"last_error,omitempty"`
			}{toJSON(i), i.Machine.DriverVersion, dir, i.SourceKernel, i.Machine.KernelPath, i.Machine.InitrdPath, i.SourceRootfs,
				i.Machine.BootArgs, i.Machine.Hardware, i.RestoredFrom, false, console.Sanitize([]byte(i.LastError))})
		},
	}
	cmd.Flags().Bool("json", true, "print JSON, the only form")
	return cmd
}
