package agent

import (
	"os"
	"strings"
	"testing"

	"noid/internal/link/wire"
)

func TestUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: becoming another user needs root")
	}
	_, path := newServer(t)
	closed := t.TempDir()
	must(t, os.Chmod(closed, 0o700))
	for _, c := range []struct {
		user, dir, out, why string
	}{
		{"", "", "0:0:", ""},
		{"root", "", "0:0:", ""},
		{"4000", "/tmp", "4000:4000:4000", ""},
		{"4000:50", "/tmp", "4000:50:50", ""},
		{"nobody", "/", "65534:65534:65534", ""},
		{"4000", closed, "", "permission denied"},
	} {
		r := do(t, path, wire.Exec{User: c.user, Dir: c.dir, Argv: args("sh", "-c", `echo "$(id -u):$(id -g):$(id -G)"; pwd`)}, nil)
		if c.why != "" {
			if r.exit.Code != 126 || !strings.Contains(r.exit.Error, c.dir) || !strings.Contains(r.exit.Error, c.why) {
				t.Errorf("%q in %s: %+v", c.user, c.dir, r.exit)
			}
			continue
		}
		if !strings.HasPrefix(r.out.String(), c.out) || r.exit.Code != 0 {
			t.Errorf("%q: %q %+v", c.user, r.out.String(), r.exit)
		}
	}
	// The terminal is the user's: a program may open it by name.
	r := do(t, path, wire.Exec{User: "4000", Dir: "/", TTY: true, Argv: args("sh", "-c", `echo mine > "$(tty)"`)}, nil)
	if r.out.String() != "mine\r\n" {
		t.Errorf("terminal: %q %+v", r.out.String(), r.exit)
	}
	// An own child is no favourite of the OOM killer's, though the agent is.
	openOOM()
	t.Cleanup(func() { protectOOM(false); oomFile = nil })
	if oomFile == nil {
		t.Fatal("no /proc/self/oom_score_adj")
	}
	if r := do(t, path, wire.Exec{Argv: args("cat", "/proc/self/oom_score_adj")}, nil); r.out.String() != "0\n" {
		t.Errorf("a command's oom_score_adj: %q", r.out.String())
	}
	if own, err := os.ReadFile("/proc/self/oom_score_adj"); err != nil || string(own) != "-1000\n" {
		t.Logf("NOT RUN: the agent's own oom_score_adj needs CAP_SYS_RESOURCE: %q %v", own, err)
	}
}
