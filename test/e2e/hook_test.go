package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// does replays what an agent says to noid's hook about a command, and runs what it is answered as the agent does: with
// a shell. The payload is one of package hook's, with changes.
func (n noid) does(agent, command string, changes map[string]any) (out string, code int) {
	n.t.Helper()
	payload, err := os.ReadFile(filepath.Join("../../internal/hook/testdata", agent+"-bash.json"))
	var call map[string]any
	if err == nil {
		err = json.Unmarshal(payload, &call)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	input := map[string]any{"command": command}
	for key, value := range changes {
		if key == "workdir" {
			input[key] = value
		} else {
			call[key] = value
		}
	}
	call["tool_input"] = input
	if payload, err = json.Marshal(call); err != nil {
		n.t.Fatal(err)
	}
	hook := n.cmd(n.t.Context(), "hook", "--vm", "work", agent)
	hook.Stdin = bytes.NewReader(payload)
	text, err := hook.Output()
	var answer struct {
		HookSpecificOutput struct {
			PermissionDecision string
			UpdatedInput       struct{ Command string }
		}
	}
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil || answer.HookSpecificOutput.PermissionDecision != "allow" {
		n.t.Fatalf("the hook answers %s: %v", text, err)
	}
	c := exec.CommandContext(n.t.Context(), "bash", "-c", answer.HookSpecificOutput.UpdatedInput.Command)
	c.Env, c.Dir = hook.Env, n.t.TempDir()
	got, _ := c.CombinedOutput()
	return string(got), c.ProcessState.ExitCode()
}

// TestHook: the commands of an agent run in the VM, one beginning where the last one ended; each turn has a checkpoint,
// and undo takes a turn back, with the directory that it was in.
func TestHook(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "work", "--wait")
	turn := func(id string) map[string]any { return map[string]any{"prompt_id": id} }
	for _, step := range []struct {
		command, turn, out string
		code               int
	}{
		{"mkdir -p \"/root/it's\" && cd \"/root/it's\"\necho kept >file", "t1", "", 0},
		{"cat file; cat <<'EOF' | tr a-z A-Z\n$x\nEOF\nexit 3", "t1", "kept\n$X\n", 3},
		{"rm -r \"/root/it's\"; cd /tmp", "t2", "", 0},
		{"pwd; nosuch", "t2", "/tmp\nsh: eval: line 1: nosuch: not found\n", 127},
	} {
		if out, code := n.does("claude", step.command, turn(step.turn)); code != step.code || out != step.out {
			t.Errorf("%s: %d %q", step.command, code, out)
		}
	}
	if list := n.checkpoints("work"); len(list) != 2 {
		t.Errorf("two turns have %d checkpoints: %v", len(list), list)
	}
	n.want(0, "undo", "work")
	if out, code := n.does("claude", "cat file; pwd", turn("t3")); code != 0 || out != "kept\n/root/it's\n" {
		t.Errorf("after undo: %d %q", code, out)
	}

	// OpenCode says where a command is to run, and Codex begins anew with each.
	n.want(0, "exec", "--auto", "off", "work", "mkdir", "-p", "lib")
	if out, code := n.does("opencode", "pwd", map[string]any{"workdir": "/home/u/p/lib"}); code != 0 || out != "/root/lib\n" {
		t.Errorf("in a directory: %d %q", code, out)
	}
	n.does("codex", "cd /tmp", nil)
	if out, code := n.does("codex", "pwd", nil); code != 0 || out != "/root\n" {
		t.Errorf("the next command: %d %q", code, out)
	}
	if by := n.checkpoints("work"); len(by) != 6 { // t1, t2, undo's, t3, OpenCode's and Codex's
		t.Errorf("all turns have %d checkpoints", len(by))
	}

	// A VM that is not there: nothing runs here instead, and the agent reads why.
	n.want(0, "destroy", "work")
	here := filepath.Join(t.TempDir(), "here")
	if out, code := n.does("claude", "touch "+here, nil); code != 125 || !strings.Contains(out, `no vm "work"`) {
		t.Errorf("without the VM: %d %q", code, out)
	}
	if _, err := os.Stat(here); err == nil {
		t.Error("the command ran on the host")
	}
}
