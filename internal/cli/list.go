package cli

import (
	"cmp"
	"strconv"

	"github.com/spf13/cobra"

	"noid/internal/confine"
	"noid/internal/link/wire"
	"noid/internal/untrusted"
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
		j.Error = untrusted.Text([]byte(i.Err.Error()))
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

// guestJSON is what a guest says of itself. Every text is the guest's: sanitised.
type guestJSON struct {
	AgentVersion string   `json:"agent_version"`
	Kernel       string   `json:"kernel"`
	Hostname     string   `json:"hostname"`
	UptimeSec    float64  `json:"uptime_sec"`
	Load         []string `json:"load"` // over 1, 5 and 15 minutes
	MemTotal     int64    `json:"mem_total"`
	MemAvailable int64    `json:"mem_available"`
	Addresses    []string `json:"addresses"`
	Jobs         int      `json:"jobs"`
}

func guestToJSON(i wire.Info) *guestJSON {
	g := &guestJSON{AgentVersion: guestWord(i.Release), Kernel: guestWord(i.Kernel), Hostname: guestWord(i.Hostname), UptimeSec: i.UptimeSec, MemTotal: i.MemTotal,
		MemAvailable: i.MemFree, Addresses: []string{}, Jobs: i.Jobs}
	for _, l := range i.Load {
		g.Load = append(g.Load, guestWord(l))
	}
	for _, a := range i.Addresses[:min(len(i.Addresses), 64)] {
		g.Addresses = append(g.Addresses, guestWord(a))
	}
	return g
}

// guestWord makes a word of the guest's fit to be printed.
func guestWord(s string) string { return untrusted.Line(s, 256) }

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
			var guest *guestJSON
			if i.State == vmm.Running && i.Machine.Agent {
				if info, err := m.GuestInfo(cmd.Context(), i); err == nil {
					guest = guestToJSON(info)
				}
			}
			if i.State == vmm.Paused {
				if d, err := a.driver(i.Machine.Driver); err == nil {
					i.LastError = cmp.Or(d.WhyPaused(dir), i.LastError)
				}
			}
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
				ForkedFrom    string            `json:"forked_from,omitempty"`
				WarmFrom      string            `json:"warm_from,omitempty"` // when its guest was kept after its boot; its uptime counts from that boot
				Agent         bool              `json:"agent"`
				Guest         *guestJSON        `json:"guest,omitempty"` // what its agent says, when it answers
				LastError     string            `json:"last_error,omitempty"`
				Confinement   *confine.Holds    `json:"confinement,omitempty"` // while it runs
			}{toJSON(i), i.Machine.DriverVersion, dir, i.SourceKernel, i.Machine.KernelPath, i.Machine.InitrdPath, i.SourceRootfs,
				i.Machine.BootArgs, i.Machine.Hardware, i.RestoredFrom, i.ForkedFrom, warmFrom(i), i.Machine.Agent, guest, untrusted.Text([]byte(i.LastError)), confinement(i)})
		},
	}
	cmd.Flags().Bool("json", true, "print JSON, the only form")
	return cmd
}

func warmFrom(i vm.Info) string {
	if i.WarmFrom == nil {
		return ""
	}
	return utc(*i.WarmFrom)
}
