package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"noid/internal/vmm/conformance/tinyguest"
)

// tiny makes a VM that is no Linux and boots at once.
func (n noid) tiny(name string) {
	n.t.Helper()
	kernel := filepath.Join(n.t.TempDir(), "tiny.elf")
	if err := os.WriteFile(kernel, tinyguest.Kernel(), 0o600); err != nil {
		n.t.Fatal(err)
	}
	n.want(0, "create", name, "--kernel", kernel, "--no-agent", "--mem", "64")
	n.answers(name, "c", "")
}

// answers waits for the tiny guest's answer to line, and insists on want unless that is empty.
func (n noid) answers(name, line, want string) {
	n.t.Helper()
	dir := filepath.Join(n.home, "storage/vms", name)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		got, err := tinyguest.Ask(dir, line, 2*time.Second)
		if err == nil {
			if want != "" {
				n.equal("the answer to "+line, want, got)
			}
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatal(err)
		}
	}
}

func (n noid) checkpoints(name string) (list []checkpointEntry) {
	n.t.Helper()
	if err := json.Unmarshal([]byte(n.want(0, "checkpoints", name, "--json")), &list); err != nil {
		n.t.Fatal(err)
	}
	return list
}

// TestUndo restores in place again and again: the present is kept each time, three times at most; of a VM that is dead,
// its disk.
func TestUndo(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.tiny("a")
	n.answers("a", "s first", "token first")
	id := strings.TrimSpace(n.want(0, "checkpoint", "a", "--label", "l"))
	for _, token := range []string{"v1", "v2", "v3", "v4", "v5"} {
		n.answers("a", "s "+token, "token "+token)
		n.want(0, "restore", "a", "l")
		n.answers("a", "g", "token first")
	}
	list := n.checkpoints("a")
	var labels []string
	for _, c := range list {
		labels = append(labels, c.Label)
	}
	back := "before restore to " + id
	if want := []string{"l", back, back, back}; !slices.Equal(labels, want) {
		t.Fatalf("the checkpoints are %q, not %q", labels, want)
	}
	for i, token := range []string{"v3", "v4", "v5"} { // the newest three, oldest first
		n.want(0, "restore", "a", list[i+1].ID, "--as", "b")
		n.answers("b", "g", "token "+token)
		n.want(0, "destroy", "b")
	}
	n.answers("a", "s last", "token last")
	n.want(0, "restore", "a", list[3].ID)
	n.answers("a", "g", "token v5")
	n.want(0, "restore", "a", "before restore to "+list[3].ID) // the undoing undone
	n.answers("a", "g", "token last")

	n.want(0, "forget", "a", "l")
	n.want(0, "stop", "--force", "a")
	mark := []byte("kept by the disk")
	disk, err := os.OpenFile(filepath.Join(n.home, "storage/vms/a/rootfs.ext4"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if _, err := disk.WriteAt(mark, 4<<20); err != nil {
		t.Fatal(err)
	}
	n.want(0, "restore", "a", list[3].ID)
	n.answers("a", "g", "token v5")
	list = n.checkpoints("a")
	kept := list[len(list)-1]
	if kept.Memory || !strings.HasPrefix(kept.Label, "before restore to ") {
		t.Fatalf("of a stopped VM is kept: %+v", kept)
	}
	n.want(0, "restore", "a", kept.ID)
	n.answers("a", "g", "token ") // it has booted
	got := make([]byte, len(mark))
	restored, err := os.Open(filepath.Join(n.home, "storage/vms/a/rootfs.ext4"))
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	if _, err := restored.ReadAt(got, 4<<20); err != nil {
		t.Fatal(err)
	}
	n.equal("the disk", string(mark), string(got))
}
