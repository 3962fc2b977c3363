package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func (n noid) templates() (keys []string) {
	n.t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.home, "storage/templates"))
	if err != nil {
		n.t.Fatal(err)
	}
	for _, e := range entries {
		keys = append(keys, e.Name())
	}
	return keys
}

// warm reports whether name was made of a template.
func (n noid) warm(name string) bool {
	n.t.Helper()
	var vm struct {
		WarmFrom string `json:"warm_from"`
	}
	if err := json.Unmarshal([]byte(n.want(0, "inspect", name)), &vm); err != nil {
		n.t.Fatal(err)
	}
	return vm.WarmFrom != ""
}

// TestWarm makes VMs of one kind one after the other: those after the first are restored, and are as new as that one
// was.
func TestWarm(t *testing.T) {
	t.Parallel() // it waits more than it works
	n := setup(t)
	image := filepath.Join(t.TempDir(), "rootfs.ext4")
	data, err := os.ReadFile(os.Getenv("NOID_TEST_ROOTFS"))
	if err == nil {
		err = os.WriteFile(image, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	n.want(0, "config", "set", "rootfs", image)
	n.want(0, "create", "first")
	// Whoever talks over the console before the agent was heard leaves traces: no template is made of that guest.
	n.want(0, "exec", "--serial", "first", "touch", "/tmp/trace")
	n.want(0, "exec", "first", "true")
	if keys := n.templates(); len(keys) != 0 {
		t.Fatalf("a guest that a user was in becomes a template: %v", keys)
	}
	const whoAmI = "hostname; cat /etc/machine-id; head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '; ls /tmp /root"
	names := []string{"a", "b", "c"}
	seen := map[string]string{}
	for i, name := range names {
		n.want(0, "create", name)
		out := n.want(0, "exec", name, "--", "sh", "-c", whoAmI)
		n.want(0, "exec", name, "--", "sh", "-c", "echo secret >/tmp/of-"+name+"; echo secret >/root/of-"+name+"; sync")
		if n.warm(name) != (i > 0) {
			t.Errorf("%s: made of a template: %t", name, i == 0)
		}
		if strings.Contains(out, "of-") {
			t.Errorf("%s finds another one's files: %s", name, out)
		}
		lines := strings.Split(out, "\n")
		n.equal("hostname", name, lines[0])
		for what, value := range map[string]string{"machine-id": lines[1], "randomness": lines[2]} {
			if other, ok := seen[value]; ok || value == "" {
				t.Errorf("%s: %s %q is also that of %s", name, what, value, other)
			}
			seen[value] = name
		}
		before := time.Now().Add(-time.Second)
		got, err := time.Parse("2006-01-02T15:04:05", strings.TrimSpace(n.want(0, "exec", name, "--", "date", "-u", "+%Y-%m-%dT%H:%M:%S")))
		if err != nil || got.Before(before.Truncate(time.Second)) || got.After(time.Now().Add(time.Second)) {
			t.Errorf("%s: the clock shows %s, %v", name, got, err)
		}
	}
	key := n.templates()
	if len(key) != 1 {
		t.Fatalf("templates: %v", key)
	}
	n.want(0, "destroy", "--checkpoints", "a", "first") // the source may go
	n.want(0, "create", "cold", "--cold", "--wait")
	if n.warm("cold") {
		t.Error("--cold makes it of the template")
	}
	n.want(0, "create", "other", "--mem", "160")
	if n.warm("other") {
		t.Error("a VM of another size is made of the template")
	}
	n.want(0, "destroy", "c", "cold", "other")
	n.want(0, "stop", "b")
	n.want(0, "start", "b")
	n.equal("a warm one's disk after a start", "secret\n", n.want(0, "exec", "b", "cat", "/root/of-b"))
	if n.warm("b") {
		t.Error("a VM that has booted itself is said to be from a template")
	}
	// One that is not as it was made is not used.
	damaged := filepath.Join(n.home, "storage/templates", key[0], "memory.snap")
	if err := errors.Join(os.Chmod(damaged, 0o600), os.WriteFile(damaged, []byte("rotten"), 0o600)); err != nil {
		t.Fatal(err)
	}
	n.want(0, "create", "d", "--wait")
	if n.warm("d") {
		t.Error("a damaged template is used")
	}
	n.want(0, "create", "e")
	if !n.warm("e") {
		t.Error("no new template was made")
	}
	n.equal("exec", "ok\n", n.want(0, "exec", "e", "echo", "ok"))
	// Another root file system under the same name: the old template goes as the new one comes.
	now := time.Now()
	if err := os.Chtimes(image, now, now); err != nil {
		t.Fatal(err)
	}
	n.want(0, "create", "f", "--wait")
	if n.warm("f") || len(n.templates()) != 1 {
		t.Errorf("of another image: made of a template: %t, templates: %v", n.warm("f"), n.templates())
	}
	n.want(2, "config", "set", "warm", "perhaps")
	n.want(0, "config", "set", "warm", "off")
	if keys := n.templates(); len(keys) != 0 {
		t.Errorf("switched off, there are %v", keys)
	}
	n.want(0, "create", "g", "--wait")
	if n.warm("g") || len(n.templates()) != 0 {
		t.Error("switched off, it goes on")
	}
}
