package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestElsewhere shares a home between two pid namespaces, as a container and its host do. Neither harms a VM of the
// other's, and both see when it ends.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.tiny("out")
	n.answers("out", "s one", "token one")
	id := strings.TrimSpace(n.want(0, "checkpoint", "out"))
	refused := func(run func(args ...string) (string, int), vm string) {
		t.Helper()
		lines := []string{"start", "stop", "stop --force", "pause", "resume", "checkpoint", "destroy", "fork", "rename"}
		if vm == "out" { // which has a checkpoint
			lines = append(lines, "restore "+id)
		}
		for _, line := range lines {
			words := strings.Fields(line)
			args := slices.Insert(words, len(words)-strings.Count(line, id), vm)
			if line == "rename" {
				args = append(args, "new")
			}
			if errs, code := run(args...); code != 5 || !strings.Contains(errs, "elsewhere") {
				t.Errorf("%q exits %d: %s", args, code, errs)
			}
		}
	}
	refused(func(args ...string) (string, int) {
		cmd := n.cmd(t.Context(), args...)
		inside := exec.Command("unshare", append([]string{"--pid", "--fork", "--mount-proc", "--kill-child"}, cmd.Args...)...)
		inside.Env = cmd.Env
		out, _ := inside.CombinedOutput()
		return string(out), inside.ProcessState.ExitCode()
	}, "out")
	n.equal("state", "running", n.state("out"))
	n.answers("out", "g", "token one")

	// A VM of a namespace that lives until end.
	cmd := n.cmd(context.Background(), "restore", "out", id, "--as", "in")
	namespace := exec.Command("unshare", append([]string{"--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", `"$@" && exec sleep 1000`, "-"},
		cmd.Args...)...)
	namespace.Env, namespace.SysProcAttr = cmd.Env, &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	check(t, namespace.Start())
	end := func() {
		namespace.Process.Kill()
		namespace.Wait()
	}
	t.Cleanup(end)
	n.until("the clone runs", func() bool {
		_, err := os.Stat(filepath.Join(n.home, "storage/vms/in"))
		return err == nil
	})
	n.equal("state", "elsewhere", n.state("in"))
	refused(func(args ...string) (string, int) {
		_, errs, code := n.run(args...)
		return errs, code
	}, "in")
	n.want(0, "restore", "out", id) // which sweeps
	var list []struct{ Name, State string }
	check(t, json.Unmarshal([]byte(n.want(0, "list", "--json")), &list))
	for _, v := range list {
		n.equal(v.Name, map[string]string{"out": "running", "in": "elsewhere"}[v.Name], v.State)
	}
	end()
	n.until("the clone is dead", func() bool { return n.state("in") == "dead" })
	n.want(0, "start", "in")
	n.answers("in", "g", "token ")
	n.want(0, "destroy", "in")
}
