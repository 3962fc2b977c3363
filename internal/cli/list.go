package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"noid/internal/untrusted"
	"noid/internal/vm"
)

// vmJSON is a VM in list --json, and in that of the verbs that make one.
type vmJSON struct {
	Name      string `json:"name"`
	State     string `json:"state"`
	PID       int    `json:"pid,omitempty"`
	CPUs      int    `json:"cpus"`
	MemMiB    int    `json:"mem_mib"`
	Driver    string `json:"driver"`
	CreatedAt string `json:"created_at"`
	Error     string `json:"error,omitempty"`
	Why       string `json:"paused_because,omitempty"` // where nobody asked for that
}

func toJSON(i vm.Info) vmJSON {
	j := vmJSON{Name: i.Name, State: string(i.State), CPUs: i.Machine.CPUs, MemMiB: i.Machine.MemMiB, Driver: i.Machine.Driver, CreatedAt: utc(i.CreatedAt), Why: i.Why}
	if i.Up() {
		j.PID = i.Process.PID
	}
	if i.Err != nil {
		j.Error = untrusted.Text([]byte(i.Err.Error()))
	}
	return j
}

func (a *app) listCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List all VMs and their states",
		Example: "  noid list\n  noid list --json\n  noid stop $(noid list -q)",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, _ []string) error {
			infos, err := m.List(ctx)
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
			if a.quiet {
				a.printColumn(rows)
				return nil
			}
			for _, i := range infos {
				if i.Why != "" {
					fmt.Fprintf(a.err, "noid: vm %q is paused: %s\n", i.Name, i.Why)
				}
			}
			table(a.out, []string{"name", "state", "pid", "cpus", "mem (MiB)", "created"}, rows)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.quietColumn(cmd, "names")
	return cmd
}
