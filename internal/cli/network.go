package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/network/lab"
	"noid/internal/vm"
)

const labHelp = `Networks between VMs. VMs on one reach each other over TCP, UDP and ping, by their names: "db", or "db.lab" for the VM
db on the network lab. Without one no VM reaches another. What else a VM may reach stays as it is: with --net none a VM
reaches the others and nothing else. Rules to deny hold between VMs too.

A clone of a VM is on its source's networks, and on those of --network, with an address of its own and its own name.
`

func (a *app) networkCmd() *cobra.Command {
	return a.group(&cobra.Command{Use: "network", Short: "Let VMs reach each other",
		Long:    labHelp + "\nWhat a VM reaches beside other VMs, 'noid net' says:\n\n" + networkHelp,
		Example: "  noid network create lab\n  noid create db --network lab\n  noid network connect lab web"},
		"create, ls, inspect, connect, disconnect or rm", a.networkCreateCmd(), a.networkListCmd(), a.networkInspectCmd(), a.networkConnectCmd(),
		a.networkDisconnectCmd(), a.networkRemoveCmd())
}

type labJSON struct {
	Name      string       `json:"name"`
	Subnet    string       `json:"subnet"`
	Subnet6   string       `json:"subnet6"`
	CreatedAt string       `json:"created_at"`
	VMs       []api.Member `json:"vms"`
}

func labToJSON(l vm.Lab) labJSON {
	four, six := lab.Subnets(l.Number)
	j := labJSON{l.Name, four.String(), six.String(), api.Time(l.CreatedAt), []api.Member{}}
	for _, m := range l.Members {
		j.VMs = append(j.VMs, api.Member{VM: m.VM, Addresses: api.AddressesOf(m.Addr)})
	}
	return j
}

func (a *app) networkCreateCmd() *cobra.Command {
	return &cobra.Command{Use: "create NETWORK...", Short: "Make networks, and print their names", Example: "  noid network create lab",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			if err := m.CreateNetworks(ctx, args); err != nil {
				return err
			}
			for _, name := range args {
				fmt.Fprintln(a.out, name)
			}
			return nil
		})}
}

func (a *app) networkListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the networks between VMs", Example: "  noid network ls",
		RunE: a.verb(func(_ context.Context, m *vm.Manager, _ []string) error {
			all, err := m.Networks()
			if err != nil {
				return err
			}
			list, rows := []labJSON{}, [][]string{}
			for _, l := range all {
				j := labToJSON(l)
				list = append(list, j)
				rows = append(rows, []string{l.Name, j.Subnet, fmt.Sprint(len(l.Members)), local(l.CreatedAt)})
			}
			if asJSON {
				return printJSON(a.out, list)
			}
			table(a.out, []string{"name", "subnet", "vms", "created"}, rows)
			return nil
		})}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) networkInspectCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "inspect NETWORK", Short: "Print a network and the VMs on it, as JSON", Example: "  noid network inspect lab",
		RunE: a.verb(func(_ context.Context, m *vm.Manager, args []string) error {
			l, err := m.InspectNetwork(args[0])
			if err != nil {
				return err
			}
			return printJSON(a.out, labToJSON(l))
		})}
	cmd.Flags().Bool("json", true, "print JSON, the only form")
	return cmd
}

func (a *app) networkConnectCmd() *cobra.Command {
	return &cobra.Command{Use: "connect NETWORK NAME", Short: "Put a VM on a network, at once", Example: "  noid network connect lab web",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			addr, err := m.ConnectNetwork(ctx, args[0], args[1])
			if err == nil {
				a.say("noid: %s.%s is %s", args[1], args[0], addr)
			}
			return err
		})}
}

func (a *app) networkDisconnectCmd() *cobra.Command {
	return &cobra.Command{Use: "disconnect NETWORK NAME", Short: "Take a VM off a network, and cut its connections there", Example: "  noid network disconnect lab web",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			return m.DisconnectNetwork(ctx, args[0], args[1])
		})}
}

func (a *app) networkRemoveCmd() *cobra.Command {
	return &cobra.Command{Use: "rm NETWORK...", Aliases: []string{"remove"}, Short: "Remove networks that no VM is on", Example: "  noid network rm lab",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error { return m.RemoveNetworks(ctx, args) })}
}
