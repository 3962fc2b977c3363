package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"noid/internal/proc"
)

// TestForeignProcess has a VM's record name a process that is not the VM's: it is left alone, and the VMM is found all
// the same.
func TestForeignProcess(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.tiny("a")
	bystander := exec.Command("sleep", "1000")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { bystander.Wait(); close(ended) }()
	defer bystander.Process.Kill()
	foreign, err := proc.Identify(bystander.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(n.home, "storage/vms/a/vm.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(data, &record); err != nil {
		t.Fatal(err)
	}
	var own struct{ Process proc.Process }
	if err := json.Unmarshal(data, &own); err != nil || !own.Process.Alive() {
		t.Fatalf("%v: %+v", err, own)
	}
	record["process"] = foreign
	if data, err = json.Marshal(record); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	n.equal("state", "dead", n.state("a"))
	n.want(0, "destroy", "a")
	select {
	case <-ended:
		t.Error("destroy killed a process that is not the VM's")
	default:
	}
	if own.Process.Alive() {
		t.Error("the VM's own VMM is left")
	}
}

// TestDamagedRecord has a running VM's record damaged: a restore in place brings it back, and ends the VMM that was
// there.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.tiny("a")
	n.answers("a", "s one", "token one")
	n.want(0, "checkpoint", "a", "--label", "one")
	path := filepath.Join(n.home, "storage/vms/a/vm.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var own struct{ Process proc.Process }
	if err := json.Unmarshal(data, &own); err != nil || !own.Process.Alive() {
		t.Fatalf("%v: %+v", err, own)
	}
	if err := os.WriteFile(path, data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	n.equal("state", "broken", n.state("a"))
	n.want(1, "start", "a")
	n.want(0, "restore", "a", "one")
	n.answers("a", "g", "token one")
	if own.Process.Alive() {
		t.Error("the VMM of the damaged record is left")
	}
}
