package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"noid/internal/api"
	"noid/internal/network"
	"noid/internal/network/policy"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// networkHelp is what 'noid help network' and 'noid net --help' end with.
const networkHelp = `A VM has a network unless it was made with --net none, or 'noid config set net none' holds.

  none      no network device
  default   the internet; not this host, loopback, link-local and metadata addresses, private networks, or multicast
  open      all that this host reaches, but not this host itself
  PROFILE   one of config.toml

Rules, of --allow, --deny and 'noid net', are ADDRESS, CIDR, DOMAIN, *.DOMAIN (all names below it) or * (every address),
each perhaps with :PORT or :FIRST-LAST, then /tcp or /udp: 10.1.0.0/16:443, [fd00::1]:53/udp, *.pypi.org.
Deny wins. Rules to allow mean: nothing else. One that names addresses which mode 'default' refuses opens these; * and
a domain do not. A domain counts for the addresses that noid's own resolver told this guest. Nothing opens this host but
--host-port, which the guest reaches at host.noid.internal.

Ports, of -p and 'noid port', are [[ADDRESS:]HOST:]GUEST[/udp], as docker's. Without an address HOST is on loopback; 0, or
none, is any free port. HOSTPATH:GUESTPATH is a unix socket of this host that leads to one of the guest's: it is made,
for this user alone, and removed with the VM. --socket HOSTPATH:GUESTPATH is the other way round: every process of the
guest that reaches GUESTPATH reaches what listens at HOSTPATH. --forward-agent is that for the ssh-agent of this host.
A clone has its source's rules and networks, and none of its ports and sockets.

A profile in config.toml, for --net work or 'noid config set net work':

  [network.work]
  mode = "default"
  allow = ["10.1.0.0/16", "*"]
  deny = ["*.ads.example"]
  host_ports = [5432]
  host_proxy = true
  host_ca = "/etc/company.pem"

With --host-proxy TCP goes by the proxy that HTTPS_PROXY names in noid's environment, but to what NO_PROXY names; UDP and
ping go nowhere. With --host-ca host the guest trusts the authorities that this host's administrator has added to the
distribution's, with --host-ca FILE those in a file.
`

// netFlags are the flags of a command that makes a VM with a network of its own.
type netFlags struct {
	net         string
	allow, deny []string
	hostPorts   []string
	hostProxy   bool
	hostCA      string
	portFlags
}

func (n *netFlags) add(f *pflag.FlagSet) {
	f.StringVar(&n.net, "net", "", "none, default, open or a profile: see 'noid help network' (default: config, then default)")
	f.StringArrayVar(&n.allow, "allow", nil, "`RULE` of what the guest may reach, and nothing else; may be repeated")
	f.StringArrayVar(&n.deny, "deny", nil, "`RULE` of what it may not; may be repeated")
	f.StringArrayVar(&n.hostPorts, "host-port", nil, "`PORT` of this host that it reaches at host.noid.internal; may be repeated")
	f.BoolVar(&n.hostProxy, "host-proxy", false, "have its TCP go by this host's proxy: HTTPS_PROXY, NO_PROXY")
	f.StringVar(&n.hostCA, "host-ca", "", "have it trust the authorities in `FILE`, or host: those added on this host")
	n.portFlags.add(f)
}

// options are what the flags say.
func (n *netFlags) options() (o vm.NetOptions, err error) {
	o.Network = n.net
	for _, l := range []struct {
		flag     string
		from, to *[]string
	}{{"allow", &n.allow, &o.Allow}, {"deny", &n.deny, &o.Deny}} {
		for _, text := range *l.from {
			if _, err := policy.ParseRule(text); err != nil {
				return o, fmt.Errorf("--%s: %w", l.flag, err)
			}
		}
		*l.to = *l.from
	}
	for _, text := range n.hostPorts {
		port, err := policy.ParsePort(text)
		if err != nil {
			return o, fmt.Errorf("--host-port: %w", err)
		}
		o.HostPorts = append(o.HostPorts, port)
	}
	o.Secrets, o.Networks, o.HostProxy, o.HostCA = n.secrets, n.networks, n.hostProxy, n.hostCA
	if o.HostCA != "" && o.HostCA != network.HostCerts {
		if o.HostCA, err = filepath.Abs(o.HostCA); err != nil {
			return o, err
		}
	}
	if o.Sockets, err = n.sockets(); err != nil {
		return o, err
	}
	o.Ports, err = n.groups()
	return o, err
}

// portFlags are the ports, the unix sockets, the secrets and the networks between VMs of a VM that is made.
type portFlags struct {
	texts, secrets, socketTexts, networks []string
	forwardAgent                          bool
}

func (p *portFlags) add(f *pflag.FlagSet) {
	f.StringArrayVarP(&p.texts, "publish", "p", nil, "`PORT` that leads to the guest, as [[ADDRESS:]HOST:]GUEST[/udp], or two paths; may be repeated")
	p.addSockets(f)
	f.StringArrayVar(&p.networks, "network", nil, "`NETWORK` between VMs that it is on: see 'noid network'; may be repeated")
	f.StringArrayVar(&p.secrets, "secret", nil, "`NAME` of a secret that the guest may use: see 'noid secret'; may be repeated")
}

func (p *portFlags) addSockets(f *pflag.FlagSet) {
	f.StringArrayVar(&p.socketTexts, "socket", nil, "`PATHS`, HOST:GUEST, of a unix socket in the guest that leads to this host's; may be repeated")
	f.BoolVar(&p.forwardAgent, "forward-agent", false, "let the guest use this host's ssh-agent, of SSH_AUTH_SOCK")
}

func (p *portFlags) groups() ([][]network.Port, error) {
	texts, _ := splitSockets(p.texts)
	groups, err := parsePorts(texts)
	if err != nil {
		err = fmt.Errorf("-p: %w", err)
	}
	return groups, err
}

// sockets are the unix sockets of all three flags.
func (p *portFlags) sockets() (all []network.Socket, err error) {
	_, in := splitSockets(p.texts)
	for _, l := range []struct {
		flag  string
		texts []string
		out   bool
	}{{"-p", in, false}, {"--socket", p.socketTexts, true}} {
		for _, text := range l.texts {
			s, err := network.ParseSocket(text, l.out)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", l.flag, err)
			}
			all = append(all, s)
		}
	}
	if p.forwardAgent {
		s, err := vm.SSHAgent()
		if err != nil {
			return nil, fmt.Errorf("--forward-agent: %w", err)
		}
		all = append(all, s)
	}
	return all, nil
}

// splitSockets tells ports from unix sockets, which begin with a path or have one of the guest.
func splitSockets(texts []string) (ports, sockets []string) {
	for _, text := range texts {
		if strings.HasPrefix(text, "/") || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") || strings.Contains(text, ":/") {
			sockets = append(sockets, text)
		} else {
			ports = append(ports, text)
		}
	}
	return ports, sockets
}

func parsePorts(texts []string) (groups [][]network.Port, err error) {
	for _, text := range texts {
		group, err := network.ParsePort(text)
		if err != nil {
			return nil, err
		}
		groups = append(groups, group)
	}
	return groups, nil
}

// picks reports whether noid is to choose a port.
func picks(groups [][]network.Port) bool {
	return slices.ContainsFunc(groups, func(g []network.Port) bool { return g[0].Host.Port() == 0 })
}

// tellPorts says which ports the VM called name has got, if noid chose one of them.
func (a *app) tellPorts(ctx context.Context, m *vm.Manager, name string, groups [][]network.Port) {
	if !picks(groups) || a.quiet {
		return
	}
	n, err := m.NetworkOf(ctx, name)
	if err != nil {
		return // it was made: the ports are in its listing
	}
	for _, p := range n.Config.Ports {
		fmt.Fprintf(a.err, "noid: %s/%s leads to port %d of %q\n", p.Host, p.Proto, p.Guest, name)
	}
}

// portRows are ports for a table, with what is wrong with each.
func portRows(n vm.Network) (rows [][]string) {
	for _, p := range n.Ports {
		rows = append(rows, []string{p.Host.String(), fmt.Sprint(p.Guest), p.Proto, untrusted.Line(p.Problem, maxCell)})
	}
	for _, s := range n.Sockets {
		rows = append(rows, []string{s.Host, s.Guest, api.SocketProto(s.Socket), untrusted.Line(s.Problem, maxCell)})
	}
	return rows
}

// group is a command that only has commands below it; verbs names them in its error.
func (a *app) group(cmd *cobra.Command, verbs string, below ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.started = false
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
		}
		return usageError(verbs+"?", "see '"+cmd.CommandPath()+" --help'")
	}
	cmd.AddCommand(below...)
	return cmd
}
