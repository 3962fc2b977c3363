package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
	"noid/internal/network"
)

func TestNetworks(t *testing.T) {
	path := writeConfig(t, "net = 'work'\ncpus = 2\n\n[network.work]\nallow = ['10.1.0.0/16', '*']\nhost_ports = [5432]\n[network.lan]\nmode = 'open'\ndeny = ['a.b']\n")
	c, err := Load(path)
	want := Config{CPUs: 2, Net: "work", Networks: map[string]network.Config{
		"work": {Mode: "default", Allow: []string{"10.1.0.0/16", "*"}, HostPorts: []uint16{5432}}, "lan": {Mode: "open", Deny: []string{"a.b"}}}}
	if diff := cmp.Diff(want, c); err != nil || diff != "" {
		t.Fatalf("%v %s", err, diff)
	}
	for name, mode := range map[string]network.Mode{"none": "none", "default": "default", "open": "open", "work": "default", "lan": "open"} {
		if n, err := c.Network(name); err != nil || n.Mode != mode {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
	}
	if _, err := c.Network("wrok"); !errors.Is(err, errs.ErrUsage) || !strings.Contains(errs.Hint(err), `"work"`) {
		t.Errorf("a slip: %v, hint %q", err, errs.Hint(err))
	}
	if err := Set(path, "net", "lan", nil); err != nil {
		t.Error(err)
	}
	if err := Set(path, "net", "home", nil); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("a profile that is not there: %v", err)
	}
	if c, err := Load(path); err != nil || c.Net != "lan" || len(c.Networks) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	for text, says := range map[string]string{
		"net = 'home'\n": `no network "home"`, "network = 3\n": "is a table", "[network]\nx = 3\n": "[network]", "[network.open]\n": "name of its own",
		"[network.'a b']\n": "name of its own", "[network.a]\nalow = ['b.c']\n": "alow", "[network.a]\nallow = ['b c']\n": `"b c" is no rule`,
		"[network.a]\nmode = 'closed'\n": "closed", "[network.a]\nhost_ports = [70000]\n": "[network]", "[network.a]\nallow = 'b.c'\n": "[network]",
	} {
		bad := writeConfig(t, text)
		_, err := Load(bad)
		if !errors.Is(err, errs.ErrUsage) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), bad+":1: ") || errs.Hint(err) == "" {
			t.Errorf("%q: %v (hint %q)", text, err, errs.Hint(err))
		}
	}
}
