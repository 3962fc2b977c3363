package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/pelletier/go-toml/v2"

	"noid/internal/errs"
	"noid/internal/lazy"
	"noid/internal/network"
	"noid/internal/network/policy"
)

// networkTable is the table with a table of each profile: [network.NAME].
const networkTable = "network"

// profile is a network as config.toml has it. Ports are not in it: no two VMs can have the same.
type profile struct {
	Mode      string   `toml:"mode"` // default where there is none
	Allow     []string `toml:"allow"`
	Deny      []string `toml:"deny"`
	HostPorts []uint16 `toml:"host_ports"`
	HostProxy bool     `toml:"host_proxy"`
	HostCA    string   `toml:"host_ca"`
}

// profiles reads the profiles in values, all of a file. A slip in one is an error, also a key that is not known: a
// guest must not reach more than the user meant.
func profiles(values map[string]any) (map[string]network.Config, error) {
	table, ok := values[networkTable]
	if !ok {
		return nil, nil
	}
	if _, isTable := table.(map[string]any); !isTable {
		return nil, usage("%s is a table of profiles: [%[1]s.NAME]", networkTable)
	}
	data, err := toml.Marshal(table)
	if err != nil {
		return nil, err
	}
	var all map[string]profile
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&all); err != nil {
		if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
			return nil, usage("[%s]: the key %q is not known: mode, allow, deny, host_ports, host_proxy and host_ca are", networkTable, strict.Errors[0].Key())
		}
		return nil, usage("[%s]: %w", networkTable, err)
	}
	networks := map[string]network.Config{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		p := all[name]
		c := network.Config{Mode: network.Mode(p.Mode), Allow: p.Allow, Deny: p.Deny, HostPorts: p.HostPorts, HostProxy: p.HostProxy, HostCA: p.HostCA}
		if c.Mode == "" {
			c.Mode = network.Default
		}
		if slices.Contains(network.Modes, network.Mode(name)) || !profileName().MatchString(name) {
			return nil, usage("[%s.%s]: a profile has a name of its own, of letters, digits, - and _", networkTable, name)
		}
		if c.HostCA != "" && c.HostCA != network.HostCerts && !filepath.IsAbs(c.HostCA) {
			return nil, usage("[%s.%s]: host_ca is %q or an absolute path", networkTable, name, network.HostCerts)
		}
		if _, err := policy.Parse(c); err != nil {
			return nil, fmt.Errorf("[%s.%s]: %w", networkTable, name, err)
		}
		networks[name] = c
	}
	return networks, nil
}

var profileName = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

func cleanNet(s string) (string, error) {
	if !profileName().MatchString(s) {
		return "", errs.WithHint(usage("%.80q is no network", s), "choose none, default, open or a profile")
	}
	return s, nil
}

// checkNet refuses a name that is neither a mode nor one of profiles. "" is fine.
func checkNet(name string, profiles map[string]network.Config) error {
	if name == "" {
		return nil
	}
	_, err := Config{Networks: profiles}.Network(name)
	return err
}

// Network returns the network called name: a mode without rules, or a profile. Another is errs.ErrUsage.
func (c Config) Network(name string) (network.Config, error) {
	if slices.Contains(network.Modes, network.Mode(name)) {
		return network.Config{Mode: network.Mode(name)}, nil
	}
	if p, ok := c.Networks[name]; ok {
		p.Allow, p.Deny, p.HostPorts = slices.Clone(p.Allow), slices.Clone(p.Deny), slices.Clone(p.HostPorts)
		return p, nil
	}
	return network.Config{}, suggest(usage("no network %.80q", name), name, c.NetworkNames(), "choose none, default, open, or a profile of [network] in config.toml")
}

// NetworkNames are what Network takes.
func (c Config) NetworkNames() []string {
	names := slices.Sorted(maps.Keys(c.Networks))
	for _, m := range network.Modes {
		names = append(names, string(m))
	}
	return names
}
