package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"noid/internal/proc"
	"noid/internal/vmm"
	"noid/internal/vmm/conformance/tinyguest"
)

// selftest returns which proofs have which result.
func (n noid) selftest(code int, args ...string) map[string][]string {
	n.t.Helper()
	var r struct {
		Held   bool
		Guest  struct{ Kernel string }
		Proofs []struct{ Proof, Result, Detail string }
	}
	out := n.want(code, append([]string{"selftest", "--json", "--wait-timeout", bootLimit.String()}, args...)...)
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Held != (code == 0) || r.Guest.Kernel == "" || strings.Contains(out, n.home) {
		n.t.Fatal(err, out)
	}
	found := map[string][]string{}
	for _, p := range r.Proofs {
		found[p.Result] = append(found[p.Result], p.Proof)
		if p.Result != "held" {
			n.t.Logf("%s: %s", p.Proof, p.Detail)
		}
	}
	return found
}

// TestSelftest: all holds of a good guest. One that gives itself the clock and the machine-id of another is found out.
func TestSelftest(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := setup(t)
	good := n.selftest(0)
	if len(good["failed"]) > 0 || len(good["held"]) < 9 {
		t.Errorf("of a good guest: %v", good)
	}
	n.only("a selftest")

	dir := tree(t)
	hooks := filepath.Join(dir, "etc/noid/on-restore.d")
	const hook = "#!/bin/sh\ntest $NOID_EVENT = clone || exit 0\ndate -s @1000000000\necho 0123456789abcdef0123456789abcdef >/etc/machine-id\n"
	if err := os.MkdirAll(hooks, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(hooks, "hook"), []byte(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	bad := n.selftest(1, "--image", "dir:"+dir)
	if want := []string{"clocks are right", "identity is apart"}; !slices.Equal(bad["failed"], want) {
		t.Errorf("of a bad guest %q fail, not %q", bad["failed"], want)
	}
	n.only("a selftest that failed")

	kernel := filepath.Join(t.TempDir(), "tiny.elf")
	if err := os.WriteFile(kernel, tinyguest.Kernel(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := n.run("selftest", "--kernel", kernel, "--wait-timeout", "3s"); code != 6 || !strings.Contains(errs, "no agent answers in the guest within 3s") {
		t.Errorf("of a guest without an agent: exit %d, %s", code, errs)
	}
	n.only("a selftest without an agent")
}

// TestSelftestEnds: one that is interrupted leaves nothing. Of one that is killed the next command that changes
// something removes all; meanwhile nobody sees its VMs.
func TestSelftestEnds(t *testing.T) {
	t.Parallel()
	n := setup(t)
	for _, sig := range []os.Signal{os.Interrupt, os.Kill} {
		cmd := n.cmd(t.Context(), "selftest", "--wait-timeout", bootLimit.String())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var vmms []proc.Process
		for deadline := time.Now().Add(bootLimit); len(vmms) < 2; time.Sleep(100 * time.Millisecond) { // until a clone runs
			vmms = nil
			dirs, _ := filepath.Glob(filepath.Join(n.home, "storage/staging/*/storage/vms/*"))
			for _, dir := range dirs {
				vmms = append(vmms, vmm.FindIn(dir)...)
			}
			if time.Now().After(deadline) {
				t.Fatal("no clone runs")
			}
		}
		n.equal("list", "", n.want(0, "list", "-q"))
		cmd.Process.Signal(sig)
		cmd.Wait()
		if sig == os.Interrupt && cmd.ProcessState.ExitCode() != 130 {
			t.Errorf("interrupted it exits %d", cmd.ProcessState.ExitCode())
		}
		if sig == os.Kill {
			n.tiny("b")
			n.want(0, "destroy", "b")
		}
		n.only(sig.String())
		for _, p := range vmms {
			if p.Alive() {
				t.Errorf("%v: its VMM %d lives", sig, p.PID)
			}
		}
	}
}
