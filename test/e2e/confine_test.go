package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfined: what /proc says of a running VM's VMM, and of one that was restored from a checkpoint and had its
// directory renamed, is what docs/security.md promises.
func TestConfined(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "--wait", "one")
	confined(t, n, "one")
	id := strings.TrimSpace(n.want(0, "checkpoint", "one"))
	n.want(0, "restore", "one", id, "--as", "two")
	confined(t, n, "two")
	n.want(0, "destroy", "one")
	if out := n.want(0, "exec", "two", "echo", "still", "here"); strings.TrimSpace(out) != "still here" {
		t.Errorf("the clone says %q", out)
	}
	n.want(0, "checkpoint", "two") // its directory was another's, and staged under another name
}

func confined(t *testing.T, n noid, name string) {
	t.Helper()
	var vm struct {
		PID         int `json:"pid"`
		Confinement struct {
			Landlock int  `json:"landlock_abi"`
			NoNew    bool `json:"no_new_privs"`
			Filters  int  `json:"seccomp_filters"`
		} `json:"confinement"`
	}
	if err := json.Unmarshal([]byte(n.want(0, "inspect", name)), &vm); err != nil {
		t.Fatal(err)
	}
	read := func(file string) string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", vm.PID, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	status := map[string]string{}
	for line := range strings.Lines(read("status")) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.TrimSpace(value)
	}
	const none = "0000000000000000"
	want := map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "CapInh": none, "CapPrm": none, "CapEff": none, "CapAmb": none, "Umask": "0077"}
	if os.Geteuid() == 0 {
		want["CapBnd"] = none
	}
	for key, value := range want {
		if status[key] != value {
			t.Errorf("%s: %s is %q, want %q", name, key, status[key], value)
		}
	}
	if !vm.Confinement.NoNew || vm.Confinement.Filters < 2 {
		t.Errorf("%s: inspect says %+v; want noid's filter and the VMM's own", name, vm.Confinement)
	}
	var doctor struct {
		Checks []struct {
			Name string `json:"name"`
			OK   bool   `json:"ok"`
		} `json:"checks"`
	}
	out, _, _ := n.run("doctor", "--json")
	if err := json.Unmarshal([]byte(out), &doctor); err != nil {
		t.Fatal(err)
	}
	for _, line := range doctor.Checks {
		if line.Name == "Landlock" && line.OK != (vm.Confinement.Landlock > 0) {
			t.Errorf("%s: doctor says Landlock is %t, inspect has ABI %d", name, line.OK, vm.Confinement.Landlock)
		}
	}
	fields := strings.Fields(read("stat")[strings.LastIndexByte(read("stat"), ')')+1:])
	if fields[3] != fmt.Sprint(vm.PID) { // proc(5): field 6
		t.Errorf("%s: session %s, not its own (%d)", name, fields[3], vm.PID)
	}
	for _, limit := range []string{"Max core file size         0                    0 ", "Max locked memory          65536                65536 "} {
		want := strings.Fields(limit)
		found := false
		for line := range strings.Lines(read("limits")) {
			found = found || strings.HasPrefix(strings.Join(strings.Fields(line), " "), strings.Join(want, " "))
		}
		if !found {
			t.Errorf("%s: no limit %q", name, limit)
		}
	}
	dir := filepath.Join(n.home, "storage/vms", name)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", vm.PID))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries { // all of them its own: nothing of noid's, or of whoever ran noid
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", vm.PID, e.Name()))
		link = strings.TrimSuffix(link, " (deleted)")
		// A VM that was restored knows its files by where they were staged, beside where they are.
		if link != "" && filepath.Dir(filepath.Dir(link)) != filepath.Dir(dir) && !strings.HasPrefix(link, "anon_inode:") && !strings.HasPrefix(link, "socket:") && link != "/dev/kvm" && link != "/dev/net/tun" && link != "/dev/null" && link != "/dev/urandom" {
			t.Errorf("%s: descriptor %s is %s", name, e.Name(), link)
		}
	}
}
