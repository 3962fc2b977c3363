package agent

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"

	"noid/internal/link/wire"
)

// TestProcesses lists this machine's processes: a child with its command line, whatever its name has, and no kernel thread.
func TestProcesses(t *testing.T) {
	child := exec.Command("sleep", "4321")
	child.Args[0] = "x) (y"
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Process.Kill(); child.Wait() })
	var b bytes.Buffer
	if err := Processes(&b); err != nil {
		t.Fatal(err)
	}
	found := false
	for lines := json.NewDecoder(&b); lines.More(); {
		var p wire.Process
		if err := lines.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if p.Command == "kthreadd" || p.Start == 0 && p.PID != 1 {
			t.Errorf("%+v", p)
		}
		found = found || p.PID == child.Process.Pid && p.Command == "x) (y 4321"
	}
	if !found {
		t.Error("the child is not there")
	}
}
