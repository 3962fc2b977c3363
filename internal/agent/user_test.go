package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/link/wire"
)

func TestLookup(t *testing.T) {
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(`# a comment
root:x:0:0:root:/root:/bin/bash
broken:x:one:1::/:
alice:x:1000:1001:Alice,,,:/home/alice:/bin/zsh
1000:x:7:7:a name of digits:/seven:
toor:x:0:0::/toor:/bin/sh
`), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "etc/group"), []byte(`root:x:0:root
alice:x:1001:
disk:x:6:root,alice
audio:x:29:bob,alice
empty:x:30:
alices:x:31:alicex
`), 0o644))
	for _, c := range []struct {
		root, spec string
		want       account
		err        string
	}{
		{root, "", account{name: "root", home: "/root", shell: "/bin/bash", groups: []uint32{6}}, ""},
		{root, "root", account{name: "root", home: "/root", shell: "/bin/bash", groups: []uint32{6}}, ""},
		{root, "alice", account{uid: 1000, gid: 1001, name: "alice", home: "/home/alice", shell: "/bin/zsh", groups: []uint32{6, 29}}, ""},
		{root, "alice:audio", account{uid: 1000, gid: 29, name: "alice", home: "/home/alice", shell: "/bin/zsh"}, ""},
		{root, "alice:77", account{uid: 1000, gid: 77, name: "alice", home: "/home/alice", shell: "/bin/zsh"}, ""},
		{root, "1000", account{uid: 7, gid: 7, name: "1000", home: "/seven", shell: "/bin/sh"}, ""},
		{root, "4000", account{uid: 4000, gid: 4000, name: "4000", home: "/", shell: "/bin/sh"}, ""},
		{root, "4000:disk", account{uid: 4000, gid: 6, name: "4000", home: "/", shell: "/bin/sh"}, ""},
		{root, "bob", account{}, `no user "bob"`},
		{root, "alice:bob", account{}, `no group "bob"`},
		{root, "broken", account{}, `no user "broken"`},
		{root, "4294967296", account{}, "no user"},
		{root, "-1", account{}, "no user"},
		{"/no/such", "1", account{uid: 1, gid: 1, name: "1", home: "/", shell: "/bin/sh"}, ""},
		{"/no/such", "alice", account{}, "no user"},
	} {
		got, err := lookup(c.root, c.spec)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", c.spec, err, c.err)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(account{})); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", c.spec, err, diff)
		}
	}
}

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
