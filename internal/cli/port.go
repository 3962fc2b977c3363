package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/network"
	"noid/internal/vm"
)

const portHelp = `HOSTPATH:GUESTPATH is a unix socket of this host, which is made for this user alone, and leads to one of the guest's.
A port is [[ADDRESS:]HOST:]GUEST[/udp], as docker's -p: 8080:80, 127.0.0.1:5353:53/udp. Without an address HOST is on
loopback, of IPv4 and IPv6; 0, or none, is any free port. A server that listens on the guest's own loopback alone is
reached too, if noid's agent is in the guest.
`

func (a *app) portCmd() *cobra.Command {
	return a.group(&cobra.Command{Use: "port", Short: "Lead ports of this host into a VM",
		Long:    "Lead ports of this host into a VM, whether it runs or not. They stay over stop, start and restore; a clone has none of them.\n\n" + portHelp,
		Example: "  noid port add web 8080:80\n  noid port ls web\n  noid port rm web 8080:80"},
		"add, rm or ls", a.portAddCmd(), a.portRemoveCmd(), a.portListCmd())
}

func (a *app) printPorts(ports []network.Port) {
	for _, p := range ports {
		fmt.Fprintln(a.out, p)
	}
}

func (a *app) portAddCmd() *cobra.Command {
	var f portFlags
	cmd := &cobra.Command{Use: "add NAME [PORT...]", Short: "Add ports and sockets, and print them", Long: "Add ports and sockets, and print them.\n\n" + portHelp,
		Example: "  noid port add web 8080:80 0:443\n  noid port add web /tmp/docker.sock:/run/docker.sock\n  noid port add dev --forward-agent",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			texts, _ := splitSockets(args[1:])
			groups, err := parsePorts(texts)
			if err != nil {
				return err
			}
			f.texts = args[1:]
			sockets, err := f.sockets()
			switch {
			case err != nil:
				return err
			case len(groups)+len(sockets) == 0:
				return usageError("which port or socket?", "see 'noid port add --help'")
			}
			if len(sockets) > 0 {
				if err := m.AddSockets(ctx, args[0], sockets); err != nil {
					return err
				}
			}
			for _, s := range sockets {
				fmt.Fprintln(a.out, s)
			}
			if len(groups) == 0 {
				return nil
			}
			added, err := m.AddPorts(ctx, args[0], groups)
			a.printPorts(added)
			return err
		})}
	f.addSockets(cmd.Flags())
	return cmd
}

func (a *app) portRemoveCmd() *cobra.Command {
	return &cobra.Command{Use: "rm NAME PORT...", Aliases: []string{"remove"}, Short: "Remove ports and sockets",
		Long: `Remove ports and sockets. Each is written as 'port add' prints it, or as a row of 'port ls' or its first cell: where it
listens here. GUEST alone, a port or a path, is each that leads there.`,
		Example: "  noid port rm web 8080:80\n  noid port rm web 127.0.0.1:8080\n  noid port rm web 443\n  noid port rm web /tmp/docker.sock:/run/docker.sock",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			ports, sockets, err := toRemove(args[1:])
			if err != nil {
				return err
			}
			if len(sockets) > 0 {
				if err := m.RemoveSockets(ctx, args[0], sockets); err != nil || len(ports) == 0 {
					return err
				}
			}
			_, err = m.RemovePorts(ctx, args[0], ports)
			return err
		})}
}

// toRemove reads the arguments of 'port rm'.
func toRemove(args []string) (ports [][]network.Port, sockets []network.Socket, err error) {
	texts := make([]string, len(args))
	for i, text := range args {
		texts[i] = ofRow(text)
	}
	texts, paths := splitSockets(texts)
	for _, text := range texts {
		if p, ok := network.ParseHost(text); ok {
			ports = append(ports, []network.Port{p})
			continue
		}
		group, err := network.ParsePort(text)
		if err != nil {
			return nil, nil, err
		}
		if !strings.Contains(text, ":") { // wherever it listens
			group = []network.Port{{Proto: group[0].Proto, Guest: group[0].Guest}}
		}
		ports = append(ports, group)
	}
	for _, path := range paths {
		s := network.Socket{}
		if strings.Contains(path, ":") {
			s, err = network.ParseSocket(path, false)
		} else {
			s.Host, err = filepath.Abs(path)
		}
		if err != nil {
			return nil, nil, err
		}
		sockets = append(sockets, s)
	}
	return ports, sockets, nil
}

// ofRow is a row of 'port ls' as 'port add' prints it; what is none stays as it is.
func ofRow(text string) string {
	var cells []string
	for cell := range strings.SplitSeq(text, "|") {
		if cell = strings.TrimSpace(cell); cell != "" {
			cells = append(cells, cell)
		}
	}
	if len(cells) < 3 {
		return text
	}
	if strings.HasPrefix(cells[2], api.SocketProto(network.Socket{})) {
		return cells[0] + ":" + cells[1]
	}
	return cells[0] + ":" + cells[1] + "/" + cells[2]
}

func (a *app) portListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "ls NAME", Aliases: []string{"list"}, Short: "List the ports of a VM", Example: "  noid port ls web",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			n, err := m.NetworkOf(ctx, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, append(api.PortsOf(n.Ports), api.SocketsOf(n.Sockets)...))
			}
			table(a.out, []string{"host", "guest", "proto", "problem"}, portRows(n))
			return nil
		})}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) forwardCmd() *cobra.Command {
	return &cobra.Command{Use: "forward NAME PORT...", Short: "Lead ports of this host into a running VM until Ctrl+C",
		Long:    "Lead ports of this host into a running VM, and print them, until Ctrl+C. They go when this command ends, however it does.\n\n" + portHelp,
		Example: "  noid forward db 5432\n  noid forward db 15432:5432\n  noid forward web /run/docker.sock",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			if len(args) == 2 && strings.HasPrefix(args[1], "/") {
				return a.forwardSocket(ctx, m, args[0], args[1])
			}
			if i := slices.IndexFunc(args[1:], func(text string) bool { return strings.HasPrefix(text, "/") }); i >= 0 {
				return usageError(fmt.Sprintf("forward: the socket %s comes alone", args[i+1]), "start another 'noid forward' for it")
			}
			groups, err := parsePorts(args[1:])
			if err != nil {
				return err
			}
			for i, g := range groups { // 5432 is 5432 here too, if that is free
				if g[0].Host.Port() == 0 {
					groups[i] = sameIfFree(ctx, g)
				}
			}
			return m.Forward(ctx, args[0], groups, a.printPorts)
		})}
}

// forwardSocket leads a unix socket of this host to one of the guest's: GUESTPATH or HOSTPATH:GUESTPATH.
func (a *app) forwardSocket(ctx context.Context, m *vm.Manager, name, text string) error {
	s := network.Socket{Guest: text}
	err := network.CheckGuestPath(text)
	if strings.Contains(text, ":") {
		s, err = network.ParseSocket(text, false)
	}
	if err != nil {
		return err
	}
	return m.ForwardSocket(ctx, name, s, func(s network.Socket) { fmt.Fprintln(a.out, s) })
}

// forkSockets refuses a socket that several copies would have.
func forkSockets(n int, sockets []network.Socket) error {
	for _, s := range sockets {
		if n > 1 && !s.Out {
			return errs.New(errs.ErrUsage, "-p %s: %d copies cannot have one socket", s, n).Hint("'noid port add' gives each its own")
		}
	}
	return nil
}

// sameIfFree is group at the guest's own port, if that is free.
func sameIfFree(ctx context.Context, group []network.Port) []network.Port {
	same := make([]network.Port, len(group))
	for i, p := range group {
		same[i] = p.At(p.Guest)
	}
	_, release, err := network.Reserve(ctx, [][]network.Port{same})
	if err != nil {
		return group
	}
	release()
	return same
}

// forkPorts refuses a port that several copies would have.
func forkPorts(n int, groups [][]network.Port) error {
	for _, g := range groups {
		if n > 1 && g[0].Host.Port() != 0 {
			return errs.New(errs.ErrUsage, "-p %s: %d copies cannot have one port", g[0], n).Hint("-p " + fmt.Sprint(g[0].Guest) + " gives each a free one")
		}
	}
	return nil
}
