package vm

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"noid/internal/errs"
	"noid/internal/network"
	"noid/internal/network/control"
)

// on is where the VM name is on the network lab, "" for nowhere.
func (w *world) on(name string) string {
	w.Helper()
	for _, n := range w.net(name).Networks {
		if n.Network == "lab" {
			return n.Addr.String()
		}
	}
	return ""
}

// TestLab: VMs get addresses of their own on a network and keep them, whatever becomes of them; their clones get
// others.
func TestLab(t *testing.T) {
	w := newWorld(t)
	create := func(name string, o NetOptions) error {
		return w.m.Create(t.Context(), CreateOptions{Name: name, NoAgent: true, Net: o})
	}
	if err := create("a", NetOptions{Networks: []string{"lab"}}); !errors.Is(err, errs.ErrNotFound) || errs.Hint(err) == "" {
		t.Errorf("on a network that is not there: %v", err)
	}
	must(t, w.m.CreateNetworks(t.Context(), []string{"lab", "other"}))
	if err := w.m.CreateNetworks(t.Context(), []string{"lab"}); !errors.Is(err, errs.ErrExists) {
		t.Errorf("made again: %v", err)
	}
	if err := create("x", NetOptions{Network: "none", Networks: []string{"lab"}, Allow: []string{"a.b"}}); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("rules to allow without a way out: %v", err)
	}
	must(t, create("a", NetOptions{Networks: []string{"lab", "other", "lab"}}))
	must(t, create("b", NetOptions{Network: "none", Networks: []string{"lab"}, Deny: []string{"10.63.1.1:22"}, Ports: ports(t, "80")}))
	if v, err := w.m.Home.LoadVM("b"); err != nil || !v.Machine.Net || w.net("b").Mode != network.None || w.on("a") != "10.63.1.1" || w.on("b") != "10.63.1.2" || len(w.net("a").Networks) != 2 {
		t.Errorf("%v: %+v and %+v", err, w.net("a"), w.net("b"))
	}
	if _, err := w.m.SetRules(t.Context(), "b", []string{"a.b"}, nil, nil); !errors.Is(err, errs.ErrState) {
		t.Errorf("a rule to allow for one that reaches VMs alone: %v", err)
	}
	_, err := w.m.Checkpoint(t.Context(), "a", "old")
	must(t, err)
	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{As: "clone"}))
	_, err = w.m.Fork(t.Context(), "a", "", ForkOptions{N: 3, Prefix: "f"}, func(_ string, err error) { must(t, err) })
	must(t, err)
	got := []string{w.on("clone"), w.on("f1"), w.on("f2"), w.on("f3")}
	if slices.Sort(got); !slices.Equal(got, []string{"10.63.1.3", "10.63.1.4", "10.63.1.5", "10.63.1.6"}) || w.net("f1").Networks[1].Network != "other" {
		t.Errorf("clones are at %v", got)
	}
	// Clones join networks of their own, beside those of their source.
	must(t, w.m.CreateNetworks(t.Context(), []string{"own"}))
	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{As: "own", Networks: []string{"own", "lab"}}))
	_, err = w.m.Fork(t.Context(), "b", "", ForkOptions{N: 2, Prefix: "o", Networks: []string{"own"}}, func(_ string, err error) { must(t, err) })
	must(t, err)
	if w.on("own") != "10.63.1.7" || len(w.net("own").Networks) != 3 || len(w.net("b").Networks) != 1 {
		t.Errorf("the clone is on %+v, its source on %+v", w.net("own").Networks, w.net("b").Networks)
	}
	own, err := w.m.InspectNetwork("own")
	if err != nil || len(own.Members) != 3 || own.Members[2].Addr.String() != "10.63.3.3" {
		t.Errorf("on it are %v, %v", own.Members, err)
	}
	stood := func(string, error) { t.Error("it was made") }
	if _, err := w.m.Fork(t.Context(), "b", "", ForkOptions{As: "x", Networks: []string{"none"}}, stood); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("forked onto a network that is not there: %v", err)
	}
	for _, name := range []string{"own", "o1", "o2"} {
		must(t, second(w.m.Destroy(t.Context(), name, false)))
	}
	must(t, w.m.Rename(t.Context(), "a", "z"))
	must(t, w.m.Restore(t.Context(), "z", "old", RestoreOptions{NoBackup: true}))
	if w.on("z") != "10.63.1.1" {
		t.Errorf("renamed and put back it is at %s", w.on("z"))
	}
	// Its address is another's by the time that it comes back.
	_, err = w.m.Destroy(t.Context(), "z", false)
	must(t, err)
	must(t, create("c", NetOptions{Networks: []string{"lab"}}))
	must(t, w.m.Restore(t.Context(), "z", "old", RestoreOptions{}))
	if w.on("c") != "10.63.1.1" || w.on("z") != "10.63.1.7" {
		t.Errorf("the new one is at %s, the one that came back at %s", w.on("c"), w.on("z"))
	}
	l, err := w.m.InspectNetwork("lab")
	var names []string
	for _, m := range l.Members {
		names = append(names, m.VM)
	}
	if err != nil || len(names) != 7 || names[0] != "c" || names[1] != "b" || names[6] != "z" {
		t.Errorf("on the network are %v, %v", names, err)
	}
	w.noLeftovers("lab")
}

// TestConnect: a VM joins and leaves networks, and its helper is told; a network that is in use stays.
func TestConnect(t *testing.T) {
	w := newWorld(t)
	must(t, w.m.CreateNetworks(t.Context(), []string{"lab"}))
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true}))
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "none", NoAgent: true, Net: NetOptions{Network: "none"}}))
	var had [][]network.Member
	w.netHelper("a", func(r control.Request, c network.Config) control.Answer {
		had = append(had, c.Networks)
		return control.Answer{}
	})
	addr, err := w.m.ConnectNetwork(t.Context(), "lab", "a")
	if err != nil || addr.String() != "10.63.1.1" || len(had) != 1 || len(had[0]) != 1 || had[0][0].Addr != addr {
		t.Errorf("%s, %v; the helper had %v", addr, err, had)
	}
	for what, c := range map[string]struct{ err, want error }{
		"again":                      {second(w.m.ConnectNetwork(t.Context(), "lab", "a")), errs.ErrExists},
		"no such network":            {second(w.m.ConnectNetwork(t.Context(), "x", "a")), errs.ErrNotFound},
		"no such vm":                 {second(w.m.ConnectNetwork(t.Context(), "lab", "x")), errs.ErrNotFound},
		"a vm without a device":      {second(w.m.ConnectNetwork(t.Context(), "lab", "none")), errs.ErrState},
		"leaving what it is not on":  {w.m.DisconnectNetwork(t.Context(), "x", "a"), errs.ErrNotFound},
		"removing what is in use":    {w.m.RemoveNetworks(t.Context(), []string{"lab"}), errs.ErrBusy},
		"removing what is not there": {w.m.RemoveNetworks(t.Context(), []string{"x"}), errs.ErrNotFound},
		"no name":                    {w.m.CreateNetworks(t.Context(), []string{"../x"}), errs.ErrUsage},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
	if len(had) != 3 { // whoever did it may have been killed before the helper was told
		t.Errorf("of changes that were made the helper was told %d times", len(had)-1)
	}
	if err := w.m.RemoveNetworks(t.Context(), []string{"lab"}); !strings.Contains(err.Error(), `in use by "a"`) {
		t.Errorf("in use: %v", err)
	}
	_, err = w.m.Checkpoint(t.Context(), "a", "old")
	must(t, err)
	must(t, w.m.Stop(t.Context(), "a", true))
	must(t, w.m.DisconnectNetwork(t.Context(), "lab", "a"))
	must(t, w.m.RemoveNetworks(t.Context(), []string{"lab", "lab"}))
	if all, err := w.m.Networks(); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
	var warned []string
	w.m.Warn = func(s string) { warned = append(warned, s) }
	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{As: "b"}))
	if len(w.net("b").Networks) > 0 || len(warned) != 1 || !strings.Contains(warned[0], `network "lab" is gone: vm "b" is not on it`) {
		t.Errorf("a clone of before has %+v, warned %q", w.net("b").Networks, warned)
	}
	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{NoBackup: true}))
	if len(w.net("a").Networks) > 0 || len(warned) != 1 {
		t.Errorf("put back it has %+v, warned %q", w.net("a").Networks, warned)
	}
}

// TestLabFull: a network without an address left takes no more, and says so; a VM that is being made has its address.
func TestLabFull(t *testing.T) {
	w := newWorld(t)
	must(t, w.m.CreateNetworks(t.Context(), []string{"lab"}))
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true}))
	for i := 1; i <= 254; i++ {
		dir := w.m.Home.StagingDir("made")
		if i > 200 {
			dir = w.m.Home.OldDir("removed")
		}
		must(t, os.Mkdir(dir, 0o700))
		c := network.Config{Mode: network.Default, Networks: []network.Member{{Network: "lab", Addr: netip.AddrFrom4([4]byte{10, 63, 1, byte(i)})}}}
		must(t, c.Save(dir))
		defer os.RemoveAll(dir)
	}
	// Made by nobody: the next command would sweep them. Their names are locked for as long.
	for _, name := range []string{"made", "removed"} {
		lock, err := w.m.Home.Lock(t.Context(), name, "create")
		must(t, err)
		defer lock.Unlock()
	}
	if _, err := w.m.ConnectNetwork(t.Context(), "lab", "a"); !errors.Is(err, errs.ErrState) || !strings.Contains(err.Error(), "no address left") {
		t.Errorf("connect: %v", err)
	}
	if err := w.m.Create(t.Context(), CreateOptions{Name: "b", NoAgent: true, Net: NetOptions{Networks: []string{"lab"}}}); !errors.Is(err, errs.ErrState) {
		t.Errorf("create: %v", err)
	}
	if exists(w.dir("b")) || exists(filepath.Join(w.dir("b"), network.ConfigFile)) {
		t.Error("it was made all the same")
	}
}
