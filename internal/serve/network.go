package serve

import (
	"context"

	"noid/internal/api"
	"noid/internal/network/control"
	"noid/internal/secret"
)

// RulesRequest changes what a VM may reach.
type RulesRequest struct {
	inVM
	Allow  []string `json:"allow,omitempty" max:"1000" jsonschema:"ADDRESS, CIDR, DOMAIN, *.DOMAIN or *, perhaps with :PORT: nothing else may be reached then"`
	Deny   []string `json:"deny,omitempty" max:"1000" jsonschema:"what may not be reached; these win"`
	Remove []string `json:"remove,omitempty" max:"1000" jsonschema:"rules to take back"`
}

// RulesSet is what came of new rules.
type RulesSet struct {
	VM     string `json:"vm"`
	Cut    int    `json:"cut" jsonschema:"how many connections they have cut"`
	Closed bool   `json:"closed"` // the VM reaches nothing any more but what its rules allow
	Opened bool   `json:"opened"` // it is no longer so
}

// PortsRequest names ports.
type PortsRequest struct {
	inVM
	Ports []string `json:"ports" min:"1" max:"1000" jsonschema:"as docker's -p has them: [[ADDRESS:]HOST:]GUEST[/udp]; without HOST, any that is free"`
}

// PortRequest names a port.
type PortRequest struct {
	inVM
	Port string `json:"-" query:"port" min:"1" max:"100" jsonschema:"as docker's -p has it"`
}

// PortList is ports that lead to a VM.
type PortList struct {
	VM    string     `json:"vm"`
	Ports []api.Port `json:"ports"`
}

// SecretRequest is the use of a secret by a VM.
type SecretRequest struct {
	inVM
	Secret string `json:"-" path:"secret" pattern:"^[A-Za-z_][A-Za-z0-9_]{0,62}$" jsonschema:"its name"`
}

// SecretUse is a secret, and a VM that may use it or no more.
type SecretUse struct {
	VM     string `json:"vm"`
	Secret string `json:"secret"`
}

// SecretList is the secrets of the home, without their values.
type SecretList struct {
	Secrets []api.Secret `json:"secrets"`
}

func (s *server) addNetwork() {
	const tag = "Network"
	add(s, op{method: "GET", path: "/vms/{vm}/net", id: "net", tag: tag, summary: "Show what a VM may reach", reads: true}, func(ctx context.Context, c *call, in inVM) (api.Network, error) {
		n, err := c.m.NetworkOf(ctx, in.VM)
		return api.NetworkOf(n), err
	})
	add(s, op{method: "POST", path: "/vms/{vm}/net/rules", id: "set_rules", verb: "net", tag: tag, summary: "Change what a VM may reach, at once", example: `{"allow":["api.github.com:443"]}`},
		func(ctx context.Context, c *call, in RulesRequest) (RulesSet, error) {
			if err := api.CheckRules(in.Allow, in.Deny); err != nil {
				return RulesSet{}, err
			}
			done, err := c.m.SetRules(ctx, in.VM, in.Allow, in.Deny, in.Remove)
			return RulesSet{in.VM, done.Cut, done.Closed, done.Opened}, err
		})
	add(s, op{method: "GET", path: "/vms/{vm}/ports", id: "ports", verb: "port", tag: tag, summary: "List the ports that lead to a VM", reads: true}, func(ctx context.Context, c *call, in inVM) (PortList, error) {
		n, err := c.m.NetworkOf(ctx, in.VM)
		return PortList{in.VM, append(api.PortsOf(n.Ports), api.SocketsOf(n.Sockets)...)}, err
	})
	add(s, op{method: "POST", path: "/vms/{vm}/ports", id: "add_ports", verb: "port", tag: tag, summary: "Have ports of this host lead to a VM, at once", example: `{"ports":["8080:80"]}`}, s.addPorts)
	add(s, op{method: "DELETE", path: "/vms/{vm}/ports", id: "remove_port", verb: "port", tag: tag, summary: "Take a port from a VM, at once"}, s.removePort)
	add(s, op{method: "GET", path: "/secrets", id: "secrets", verb: "secret", tag: tag, summary: "List the secrets, without their values", reads: true}, func(_ context.Context, c *call, _ struct{}) (SecretList, error) {
		list, err := secret.Store{Dir: c.m.Home.Dir()}.List()
		out := SecretList{Secrets: []api.Secret{}}
		for _, s := range list {
			out.Secrets = append(out.Secrets, api.SecretOf(s))
		}
		return out, err
	})
	add(s, op{method: "PUT", path: "/vms/{vm}/secrets/{secret}", id: "grant_secret", verb: "secret", tag: tag, summary: "Let a VM use a secret"}, func(ctx context.Context, c *call, in SecretRequest) (SecretUse, error) {
		return SecretUse{in.VM, in.Secret}, c.m.GrantSecrets(ctx, in.VM, []string{in.Secret})
	})
	add(s, op{method: "DELETE", path: "/vms/{vm}/secrets/{secret}", id: "revoke_secret", verb: "secret", tag: tag, summary: "Take a secret from a VM"}, func(ctx context.Context, c *call, in SecretRequest) (SecretUse, error) {
		return SecretUse{in.VM, in.Secret}, c.m.RevokeSecrets(ctx, in.VM, []string{in.Secret})
	})
}

func (s *server) addPorts(ctx context.Context, c *call, in PortsRequest) (PortList, error) {
	groups, err := portGroups(in.Ports)
	if err != nil {
		return PortList{}, err
	}
	added, err := c.m.AddPorts(ctx, in.VM, groups)
	out := PortList{in.VM, []api.Port{}}
	for _, p := range added {
		out.Ports = append(out.Ports, api.PortsOf([]control.Port{{Port: p}})...)
	}
	return out, err
}

func (s *server) removePort(ctx context.Context, c *call, in PortRequest) (PortList, error) {
	groups, err := portGroups([]string{in.Port})
	if err != nil {
		return PortList{}, err
	}
	removed, err := c.m.RemovePorts(ctx, in.VM, groups)
	out := PortList{in.VM, []api.Port{}}
	for _, p := range removed {
		out.Ports = append(out.Ports, api.PortsOf([]control.Port{{Port: p}})...)
	}
	return out, err
}
