package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/network"
	"noid/internal/network/control"
)

func ports(t *testing.T, texts ...string) (groups [][]network.Port) {
	t.Helper()
	for _, text := range texts {
		g, err := network.ParsePort(text)
		must(t, err)
		groups = append(groups, g)
	}
	return groups
}

// net is the network of the VM name, as its file has it.
func (w *world) net(name string) network.Config {
	w.Helper()
	c, err := network.Load(w.dir(name))
	must(w.T, err)
	return c
}

// netHelper stands for the network helper of the VM name. Its answers are what answer makes of requests, and of the
// configuration as it is then.
func (w *world) netHelper(name string, answer func(control.Request, network.Config) control.Answer) {
	dir := w.dir(name)
	l, err := net.Listen("unix", filepath.Join(dir, network.ControlSocket))
	must(w.T, err)
	w.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var r control.Request
				line, err := bufio.NewReader(conn).ReadBytes('\n')
				if err == nil && json.Unmarshal(line, &r) == nil {
					c, _ := network.Load(dir)
					json.NewEncoder(conn).Encode(answer(r, c))
				}
				io.Copy(io.Discard, conn)
			}()
		}
	}()
}

// TestNetworkOfNewVMs: a VM has what its options say, then the configuration, then mode default where the host can.
func TestNetworkOfNewVMs(t *testing.T) {
	w := newWorld(t)
	var warned []string
	w.m.Warn = func(s string) { warned = append(warned, s) }
	w.m.Config.Networks = map[string]network.Config{"work": {Mode: network.Default, Allow: []string{"10.1.0.0/16"}, HostPorts: []uint16{5432}}}
	create := func(name string, o NetOptions) error {
		return w.m.Create(t.Context(), CreateOptions{Name: name, NoAgent: true, Net: o})
	}
	must(t, create("plain", NetOptions{}))
	must(t, create("rules", NetOptions{Network: "work", Allow: []string{"Example.COM", "10.1.0.0/16"}, Deny: []string{"*.ads.example"}, HostPorts: []uint16{5432, 80}, Ports: ports(t, "80")}))
	must(t, create("none", NetOptions{Network: "none"}))
	w.m.Config.Net = "none"
	must(t, create("configured", NetOptions{}))
	for name, has := range map[string]bool{"plain": true, "rules": true, "none": false, "configured": false} {
		v, err := w.m.Home.LoadVM(name)
		if _, missing := os.Stat(filepath.Join(w.dir(name), network.ConfigFile)); err != nil || v.Machine.Net != has || (missing == nil) != has {
			t.Errorf("%s: %v, %v, %v", name, v.Machine.Net, missing, err)
		}
	}
	if c := w.net("plain"); c.Mode != network.Default || len(c.Ports)+len(c.Allow) > 0 {
		t.Errorf("plain: %+v", c)
	}
	if c := w.net("rules"); !slices.Equal(c.Allow, []string{"10.1.0.0/16", "example.com"}) || !slices.Equal(c.HostPorts, []uint16{5432, 80}) || len(c.Deny) != 1 ||
		len(c.Ports) == 0 || c.Ports[0].Host.Port() == 0 {
		t.Errorf("rules: %+v", c)
	}
	for name, o := range map[string]NetOptions{"no such profile": {Network: "home"}, "no rule": {Network: "open", Allow: []string{"a b"}}, "rules without a network": {Allow: []string{"a.b"}}} {
		if err := create("x", o); !errors.Is(err, errs.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.m.Config = config.Config{Kernel: w.m.Config.Kernel, Rootfs: w.m.Config.Rootfs, Warm: "off"}
	if len(warned) > 0 {
		t.Errorf("warned: %q", warned)
	}
	w.fake.NoNet = errs.New(errs.ErrHost, "no tun").Hint("modprobe it")
	must(t, create("cannot", NetOptions{}))
	if v, err := w.m.Home.LoadVM("cannot"); err != nil || v.Machine.Net || len(warned) != 1 || !strings.Contains(warned[0], `vm "cannot" gets no network: no tun: modprobe it`) {
		t.Errorf("where the host cannot: %v, %v, %q", v.Machine.Net, err, warned)
	}
	if err := create("asked", NetOptions{Network: "default"}); !errors.Is(err, errs.ErrHost) {
		t.Errorf("asked for where the host cannot: %v", err)
	}
	w.noLeftovers("create")
}

// TestNetworkStays: a VM keeps its network over stop, start, rename and restore in place; a clone gets the rules alone.
func TestNetworkStays(t *testing.T) {
	w := newWorld(t)
	var noticed []string
	w.m.Notice = func(s string) { noticed = append(noticed, s) }
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true, Net: NetOptions{Network: "open", Deny: []string{"10.0.0.0/8"}, Ports: ports(t, "80")}}))
	_, err := w.m.Checkpoint(t.Context(), "a", "old")
	must(t, err)
	must(t, w.m.Stop(t.Context(), "a", true))
	_, err = w.m.SetRules(t.Context(), "a", []string{"a.b"}, nil, nil)
	must(t, err)
	want := w.net("a")
	must(t, w.m.Start(t.Context(), "a"))
	w.netHelper("a", func(control.Request, network.Config) control.Answer { return control.Answer{} })
	same := func(after, name string) {
		t.Helper()
		if c := w.net(name); !slices.Equal(c.Allow, want.Allow) || !slices.Equal(c.Ports, want.Ports) || c.Mode != want.Mode {
			t.Errorf("%s: %+v, want %+v", after, c, want)
		}
	}
	same("start", "a")
	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{As: "clone"}))
	if c := w.net("clone"); c.Mode != network.Open || !slices.Equal(c.Deny, want.Deny) || len(c.Ports) > 0 || len(noticed) != 1 || !strings.Contains(noticed[0], "-p") {
		t.Errorf("a clone has %+v, noticed %q", c, noticed)
	}
	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{As: "ported", Ports: ports(t, "81")}))
	if c := w.net("ported"); len(c.Ports) == 0 || c.Ports[0].Guest != 81 || len(noticed) != 1 {
		t.Errorf("a clone with -p has %+v, noticed %q", c, noticed)
	}
	_, err = w.m.Fork(t.Context(), "a", "", ForkOptions{N: 2, Prefix: "f", Ports: ports(t, "82")}, func(_ string, err error) { must(t, err) })
	must(t, err)
	if one, two := w.net("f1"), w.net("f2"); len(one.Ports) == 0 || len(two.Ports) == 0 || one.Ports[0] == two.Ports[0] || !slices.Equal(one.Allow, want.Allow) {
		t.Errorf("clones of a fork have %+v and %+v", one, two)
	}
	must(t, w.m.Rename(t.Context(), "a", "b"))
	same("rename", "b")
	must(t, w.m.Stop(t.Context(), "b", true))
	must(t, w.m.Restore(t.Context(), "b", "old", RestoreOptions{NoBackup: true}))
	same("restore in place", "b")
	_, err = w.m.Destroy(t.Context(), "b", false)
	must(t, err)
	held, err := net.Listen("tcp", want.Ports[0].Host.String())
	must(t, err)
	if err := w.m.Restore(t.Context(), "b", "old", RestoreOptions{}); !errors.Is(err, errs.ErrBusy) {
		t.Errorf("a destroyed VM whose port is taken: %v", err)
	}
	held.Close()
	must(t, w.m.Restore(t.Context(), "b", "old", RestoreOptions{}))
	if c := w.net("b"); !slices.Equal(c.Ports, want.Ports) || len(c.Allow) > 0 {
		t.Errorf("a destroyed VM has %+v", c)
	}
}

// TestDamagedNetwork: a VM whose network's configuration is damaged has that of the checkpoint when it is put back.
func TestDamagedNetwork(t *testing.T) {
	w := newWorld(t)
	var warned []string
	w.m.Warn = func(s string) { warned = append(warned, s) }
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true, Net: NetOptions{Network: "open", Deny: []string{"10.0.0.0/8"}}}))
	_, err := w.m.Checkpoint(t.Context(), "a", "old")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(w.dir("a"), network.ConfigFile), []byte("{"), 0o600))
	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{NoBackup: true}))
	if c := w.net("a"); c.Mode != network.Open || !slices.Equal(c.Deny, []string{"10.0.0.0/8"}) {
		t.Errorf("it has %+v", c)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "that of the checkpoint") {
		t.Errorf("warned %q", warned)
	}
}

// TestDamagedRecordKeepsPorts: a VM whose record is damaged runs on, and its helper has its ports. A restore in place
// takes them over.
func TestDamagedRecordKeepsPorts(t *testing.T) {
	w := newWorld(t)
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true, Net: NetOptions{Ports: ports(t, "80")}}))
	_, err := w.m.Checkpoint(t.Context(), "a", "old")
	must(t, err)
	want := w.net("a").Ports
	held, err := net.Listen("tcp", want[0].Host.String())
	must(t, err)
	defer held.Close()
	must(t, os.WriteFile(filepath.Join(w.dir("a"), "vm.json"), []byte("{"), 0o600))
	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{}))
	if got := w.net("a").Ports; !slices.Equal(got, want) {
		t.Errorf("it has %v, want %v", got, want)
	}
}

// TestPorts: ports are added and removed while the VM runs and while it does not; a taken one is refused and leaves no
// trace.
func TestPorts(t *testing.T) {
	w := newWorld(t)
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true}))
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "none", NoAgent: true, Net: NetOptions{Network: "none"}}))
	held, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer held.Close()
	taken := held.Addr().String() + ":80"
	problem := ""
	var asked []control.Op
	w.netHelper("a", func(r control.Request, c network.Config) (a control.Answer) {
		asked = append(asked, r.Op)
		for _, p := range slices.Concat(c.Ports, r.Ports) {
			a.Ports = append(a.Ports, control.Port{Port: p, Problem: problem})
		}
		a.Status = &control.State{PID: 7}
		return a
	})
	for _, stopped := range []bool{false, true} {
		if stopped {
			must(t, w.m.Stop(t.Context(), "a", true))
		}
		added, err := w.m.AddPorts(t.Context(), "a", ports(t, "80", "127.0.0.1::53/udp"))
		must(t, err)
		if c := w.net("a"); !slices.Equal(c.Ports, added) || len(added) < 2 {
			t.Errorf("added %v, has %v", added, c.Ports)
		}
		if _, err := w.m.AddPorts(t.Context(), "a", [][]network.Port{added[:1]}); !errors.Is(err, errs.ErrExists) {
			t.Errorf("added twice: %v", err)
		}
		if _, err := w.m.AddPorts(t.Context(), "a", ports(t, "81", taken)); !errors.Is(err, errs.ErrBusy) || len(w.net("a").Ports) != len(added) {
			t.Errorf("a taken one: %v, has %v", err, w.net("a").Ports)
		}
		if _, err := w.m.RemovePorts(t.Context(), "a", ports(t, "80", "99")); !errors.Is(err, errs.ErrNotFound) || len(w.net("a").Ports) != len(added) {
			t.Errorf("one that it does not have: %v", err)
		}
		removed, err := w.m.RemovePorts(t.Context(), "a", slices.Concat(ports(t, "80"), [][]network.Port{added[len(added)-1:]}))
		if err != nil || !slices.Equal(removed, added) || len(w.net("a").Ports) > 0 {
			t.Errorf("removed %v, %v; has %v", removed, err, w.net("a").Ports)
		}
	}
	// Twice it was told of a change, and twice of what holds already: the noid before may have been killed in between.
	if slices.Contains(asked, control.Status) || len(asked) != 4 {
		t.Errorf("the helper was asked for %v", asked)
	}
	if err := w.m.Create(t.Context(), CreateOptions{Name: "b", Net: NetOptions{Ports: ports(t, taken)}}); !errors.Is(err, errs.ErrBusy) {
		t.Errorf("create with a taken port: %v", err)
	}
	c := w.net("a")
	c.Ports = ports(t, taken)[0]
	must(t, c.Save(w.dir("a")))
	w.fake.Reset()
	if err := w.m.Start(t.Context(), "a"); !errors.Is(err, errs.ErrBusy) || len(w.fake.Calls()) > 0 {
		t.Errorf("start with a taken port: %v after %v", err, w.fake.Calls())
	}
	held.Close()
	must(t, w.m.Start(t.Context(), "a"))
	problem = "another was quicker"
	if _, err := w.m.AddPorts(t.Context(), "a", ports(t, "80")); !errors.Is(err, errs.ErrBusy) || !strings.Contains(err.Error(), problem) || len(w.net("a").Ports) != 1 {
		t.Errorf("what the helper does not get: %v, has %v", err, w.net("a").Ports)
	}
	n, err := w.m.NetworkOf(t.Context(), "a")
	if err != nil || n.Helper == nil || n.Helper.PID != 7 || len(n.Ports) != 1 || n.Ports[0].Problem != problem {
		t.Errorf("%+v, %v", n, err)
	}
	for what, err := range map[string]error{"port": second(w.m.AddPorts(t.Context(), "none", ports(t, "80"))), "net": second(w.m.SetRules(t.Context(), "none", []string{"a.b"}, nil, nil)),
		"forward": w.m.Forward(t.Context(), "none", ports(t, "80"), nil), "log": w.m.NetLog(t.Context(), "none", LogOptions{}, io.Discard)} {
		if !errors.Is(err, errs.ErrState) || errs.Hint(err) == "" {
			t.Errorf("%s of a VM without a network: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// lines is a writer that hands on what is written.
type lines chan string

func (l lines) Write(data []byte) (int, error) { l <- string(data); return len(data), nil }

// TestFollowNetLog follows a log that is not there yet, over a restore in place, until the VM's end.
func TestFollowNetLog(t *testing.T) {
	w := newWorld(t)
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true}))
	_, err := w.m.Checkpoint(t.Context(), "a", "old")
	must(t, err)
	got, ended := make(lines), make(chan error)
	go func() {
		ended <- w.m.NetLog(t.Context(), "a", LogOptions{Last: -1, Follow: true}, got)
		close(ended)
	}()
	says := func(path, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(w.dir("a"), path), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		must(t, err)
		defer f.Close()
		_, err = f.WriteString(text)
		must(t, err)
		select {
		case line := <-got:
			if line != text {
				t.Errorf("it prints %q, not %q", line, text)
			}
		case err := <-ended:
			t.Fatalf("it ended before %q: %v", text, err)
		}
	}
	says(network.LogFile, "first\n") // by the helper of an earlier noid
	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{NoBackup: true}))
	says(filepath.Join(network.HelperDir, network.LogFile), "second\n")
	_, err = w.m.Destroy(t.Context(), "a", false)
	must(t, err)
	must(t, <-ended)
}

// TestSetRules changes rules while the VM runs.
func TestSetRules(t *testing.T) {
	w := newWorld(t)
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true, Net: NetOptions{Network: "default", Deny: []string{"8.8.8.8"}}}))
	w.netHelper("a", func(control.Request, network.Config) control.Answer { return control.Answer{Cut: 3} })
	done, err := w.m.SetRules(t.Context(), "a", []string{"PyPI.org:443"}, []string{"1.1.1.1", "8.8.8.8"}, nil)
	if c := w.net("a"); err != nil || done.Cut != 3 || !done.Closed || done.Opened || !slices.Equal(c.Allow, []string{"pypi.org:443"}) || !slices.Equal(c.Deny, []string{"8.8.8.8", "1.1.1.1"}) {
		t.Errorf("%+v, %+v, %v", c, done, err)
	}
	done, err = w.m.SetRules(t.Context(), "a", nil, nil, []string{"pypi.org.:443", "1.1.1.1"})
	if c := w.net("a"); err != nil || done.Closed || !done.Opened || len(c.Allow) > 0 || !slices.Equal(c.Deny, []string{"8.8.8.8"}) {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := w.m.SetRules(t.Context(), "a", nil, nil, []string{"9.9.9.9"}); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("removing what is not there: %v", err)
	}
	if _, err := w.m.SetRules(t.Context(), "a", []string{"a b"}, nil, nil); !errors.Is(err, errs.ErrUsage) || len(w.net("a").Allow) > 0 {
		t.Errorf("no rule: %v", err)
	}
}

// TestRuleOfAVM: a rule that names a VM is refused, by whatever name guests find it, and one that names this host.
func TestRuleOfAVM(t *testing.T) {
	w := newWorld(t)
	must(t, w.m.CreateNetworks(t.Context(), []string{"lab"}))
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "Db", NoAgent: true}))
	w.netHelper("Db", func(control.Request, network.Config) control.Answer { return control.Answer{} })
	for _, rule := range []string{"db", "DB.:5432", "db.lab/tcp"} {
		_, allow := w.m.SetRules(t.Context(), "Db", []string{rule}, nil, nil)
		_, deny := w.m.SetRules(t.Context(), "Db", nil, []string{rule}, nil)
		made := w.m.Create(t.Context(), CreateOptions{Name: "b", NoAgent: true, Net: NetOptions{Deny: []string{rule}}})
		for _, err := range []error{allow, deny, made} {
			if !errors.Is(err, errs.ErrUsage) || !strings.Contains(errs.Hint(err), "noid network") {
				t.Errorf("%s: %v", rule, err)
			}
		}
	}
	for _, lists := range [][2][]string{{{"Host.noid.internal:5432"}, nil}, {nil, {"host.noid.internal."}}} {
		if _, err := w.m.SetRules(t.Context(), "Db", lists[0], lists[1], nil); !errors.Is(err, errs.ErrUsage) || !strings.Contains(errs.Hint(err), "--host-port") {
			t.Errorf("%s: %v", lists, err)
		}
	}
	if _, err := w.m.SetRules(t.Context(), "Db", nil, []string{"*.db", "db.example", "nas"}, nil); err != nil || len(w.net("Db").Deny) != 3 {
		t.Errorf("what is no vm: %v", err)
	}
}

// TestForward: a forward lasts as long as its connection.
func TestForward(t *testing.T) {
	w := newWorld(t)
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true}))
	var got control.Request
	w.netHelper("a", func(r control.Request, _ network.Config) control.Answer { got = r; return control.Answer{} })
	ctx, cancel := context.WithCancel(t.Context())
	var told []network.Port
	err := w.m.Forward(ctx, "a", ports(t, "5432"), func(p []network.Port) { told = p; cancel() })
	if !errors.Is(err, context.Canceled) || got.Op != control.Forward || len(told) == 0 || told[0].Host.Port() == 0 || !slices.Equal(got.Ports, told) {
		t.Errorf("%v; asked for %+v, told %v", err, got, told)
	}
	if len(w.net("a").Ports) > 0 {
		t.Error("the port stays")
	}
}

// TestFlows: what connections a guest had, and what names it was told, goes with its checkpoint, and with the clones of a
// fork, to the helper of what is restored.
func TestFlows(t *testing.T) {
	w := newWorld(t)
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true}))
	flow := control.Flow{Proto: "tcp", Guest: netip.MustParseAddrPort("10.63.0.2:40000"), Remote: netip.MustParseAddrPort("1.1.1.1:443")}
	answer := control.Answer{Flows: []control.Flow{flow}}
	w.netHelper("a", func(r control.Request, _ network.Config) control.Answer {
		if r.Op != control.Flows {
			return control.Answer{Error: "not asked for"}
		}
		return answer
	})
	until := time.Now().Add(time.Hour)
	must(t, network.SaveNames(filepath.Join(w.dir("a"), network.HelperDir), []network.Name{{Name: "a.example", Until: until, Addrs: []netip.Addr{flow.Remote.Addr()}}}))
	_, err := w.m.Checkpoint(t.Context(), "a", "old")
	must(t, err)
	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{As: "b"}))
	_, err = w.m.Fork(t.Context(), "a", "", ForkOptions{As: "c"}, func(_ string, err error) { must(t, err) })
	must(t, err)
	for _, name := range []string{"b", "c"} {
		var got []control.Flow
		data, err := os.ReadFile(filepath.Join(w.dir(name), network.HelperDir, network.FlowsFile))
		if err != nil || json.Unmarshal(data, &got) != nil || len(got) != 1 || got[0] != flow {
			t.Errorf("%s has %s, %v", name, data, err)
		}
	}
	for _, name := range []string{"b", "c"} {
		if got := network.LoadNames(w.dir(name)); len(got) != 1 || got[0].Name != "a.example" || !got[0].Until.After(until) {
			t.Errorf("%s knows the names %v", name, got)
		}
	}
	answer = control.Answer{Error: "busy"}
	must(t, network.SaveNames(filepath.Join(w.dir("a"), network.HelperDir), nil))
	_, err = w.m.Checkpoint(t.Context(), "a", "without")
	must(t, err)
	must(t, w.m.Restore(t.Context(), "a", "without", RestoreOptions{As: "d"}))
	for _, file := range []string{network.FlowsFile, network.NamesFile} {
		if exists(network.HelperFile(w.dir("d"), file)) {
			t.Errorf("%s of a checkpoint that has none", file)
		}
	}
	if _, err := w.m.Verify(t.Context(), "a", "", true, func(checkpoint.Record, string, int64) {}); err != nil {
		t.Errorf("verify: %v", err)
	}
}
