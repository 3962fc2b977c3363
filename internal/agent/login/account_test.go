package login

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

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
		want       Account
		err        string
	}{
		{root, "", Account{Name: "root", Home: "/root", Shell: "/bin/bash", Groups: []uint32{6}}, ""},
		{root, "root", Account{Name: "root", Home: "/root", Shell: "/bin/bash", Groups: []uint32{6}}, ""},
		{root, "alice", Account{UID: 1000, GID: 1001, Name: "alice", Home: "/home/alice", Shell: "/bin/zsh", Groups: []uint32{6, 29}}, ""},
		{root, "alice:audio", Account{UID: 1000, GID: 29, Name: "alice", Home: "/home/alice", Shell: "/bin/zsh"}, ""},
		{root, "alice:77", Account{UID: 1000, GID: 77, Name: "alice", Home: "/home/alice", Shell: "/bin/zsh"}, ""},
		{root, "1000", Account{UID: 7, GID: 7, Name: "1000", Home: "/seven", Shell: "/bin/sh"}, ""},
		{root, "4000", Account{UID: 4000, GID: 4000, Name: "4000", Home: "/", Shell: "/bin/sh"}, ""},
		{root, "4000:disk", Account{UID: 4000, GID: 6, Name: "4000", Home: "/", Shell: "/bin/sh"}, ""},
		{root, "bob", Account{}, `no user "bob"`},
		{root, "alice:bob", Account{}, `no group "bob"`},
		{root, "broken", Account{}, `no user "broken"`},
		{root, "4294967296", Account{}, "no user"},
		{root, "-1", Account{}, "no user"},
		{"/no/such", "1", Account{UID: 1, GID: 1, Name: "1", Home: "/", Shell: "/bin/sh"}, ""},
		{"/no/such", "alice", Account{}, "no user"},
	} {
		got, err := Lookup(c.root, c.spec)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", c.spec, err, c.err)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(Account{})); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", c.spec, err, diff)
		}
	}
}
