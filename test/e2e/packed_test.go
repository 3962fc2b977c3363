package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"noid/internal/checkpoint"
	"noid/internal/pack"
	"noid/internal/storage"
)

// TestPacked takes the life of a VM's checkpoints where files share no blocks: what is packed is what the paused guest
// had, costs what changed, survives whichever other is forgotten, and is restored; damage is named in all that share it.
func TestPacked(t *testing.T) {
	t.Parallel()
	if shares, err := storage.Reflinks(t.TempDir()); err != nil || shares {
		t.Skipf("NOT RUN: nothing is packed with reflinks (%v)", err)
	}
	t.Run("qemu", func(t *testing.T) {
		n := setup(t)
		n.driver = "qemu"
		testPacked(n)
	})
	t.Run("firecracker", func(t *testing.T) { testPacked(withFirecracker(t)) })
}

// withFirecracker is setup for what the tiny guest does in Firecracker, which needs no hardware.
func withFirecracker(t *testing.T) noid {
	if _, err := exec.LookPath("firecracker"); err != nil {
		t.Skip("NOT RUN: no firecracker binary on PATH")
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		t.Skip("NOT RUN: Firecracker needs KVM")
	}
	kvm.Close()
	n := setup(t)
	n.driver = "firecracker"
	return n
}

// TestSharedMemory has clones of a packed checkpoint share the file of their memory, which the checkpoints of one of them
// do not change for the others.
func TestSharedMemory(t *testing.T) {
	t.Parallel()
	n := withFirecracker(t)
	if shares, err := storage.Reflinks(n.home); err != nil || shares {
		t.Skipf("NOT RUN: nothing is packed with reflinks (%v)", err)
	}
	n.tiny("a")
	n.answers("a", "s first", "token first")
	n.answers("a", "d 16", "dirty 16")
	n.want(0, "checkpoint", "a", "--label", "l")
	memory := func(name string) os.FileInfo {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(n.home, "storage/vms", name, "memory.*.*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("the memory of %s: %q, %v", name, found, err)
		}
		info, err := os.Lstat(found[0])
		check(t, err)
		return info
	}
	for _, name := range []string{"b", "c"} {
		n.want(0, "restore", "a", "l", "--as", name)
	}
	if !os.SameFile(memory("b"), memory("c")) {
		t.Error("clones of one checkpoint have their memory twice")
	}
	for i := range 3 {
		n.answers("b", "d 24", "dirty 24")
		n.answers("b", fmt.Sprint("s b", i), fmt.Sprint("token b", i))
		n.want(0, "checkpoint", "b", "--label", fmt.Sprint(i))
	}
	if os.SameFile(memory("b"), memory("c")) {
		t.Error("a clone's checkpoint went into what another one has too")
	}
	n.want(0, "checkpoint", "a", "--label", "other")
	n.want(0, "restore", "a", "other", "--as", "d") // in place of what b and c share
	n.want(0, "destroy", "b")
	n.want(0, "checkpoint", "c", "--label", "mine")
	n.answers("c", "g", "token first")
	n.want(0, "restore", "a", "l", "--as", "e")
	for name, want := range map[string]string{"a": "first", "c": "first", "d": "first", "e": "first"} {
		n.answers(name, "g", "token "+want)
	}
	n.want(0, "restore", "b", "1")
	n.answers("b", "g", "token b1")
	for _, name := range []string{"a", "b", "c"} {
		n.want(0, "verify", name, "--read-data")
	}
	n.want(0, "forget", "a", "l", "other")
	if left, _ := os.ReadDir(filepath.Join(n.home, "storage/checkpoints/a")); len(left) != 0 {
		t.Errorf("of no checkpoint is left: %v", left)
	}
}

func testPacked(n noid) {
	n.tiny("a")
	n.answers("a", "d 24", "dirty 24")
	memory := "memory"
	if n.driver == "firecracker" {
		memory = "memory.own.*"
	}
	var ids []string
	const changed = 4 // MiB
	for i := range 6 {
		n.answers("a", fmt.Sprintf("s token%d", i), fmt.Sprintf("token token%d", i))
		n.answers("a", fmt.Sprintf("d %d", changed), fmt.Sprintf("dirty %d", changed))
		n.want(0, "pause", "a")
		id := strings.TrimSpace(n.want(0, "checkpoint", "a"))
		n.same(id, "memory.snap", memory)
		n.same(id, "rootfs.ext4", "rootfs.ext4")
		n.want(0, "resume", "a")
		ids = append(ids, id)
	}
	running := strings.TrimSpace(n.want(0, "checkpoint", "a", "--label", "running"))
	n.want(0, "verify", "a", "--read-data")
	n.spends(int64(len(ids)) * changed << 20)

	for i, at := range rand.New(rand.NewPCG(1, 1)).Perm(len(ids)) {
		as := fmt.Sprint("b", i)
		n.want(0, "restore", "a", ids[at], "--as", as)
		n.answers(as, "g", fmt.Sprintf("token token%d", at))
		n.answers(as, "s "+as, "token "+as) // a clone's own checkpoint
		n.want(0, "checkpoint", as, "--label", "own")
		n.want(0, "restore", as, "own")
		n.answers(as, "g", "token "+as)
		n.want(0, "destroy", "--checkpoints", as)
		n.want(0, "forget", "a", ids[at])
		n.want(0, "verify", "a", "--read-data")
		if i == 2 {
			n.damage(append(ids, running))
		}
	}
	if n.packBytes() > 80<<20 {
		n.t.Errorf("one checkpoint of 64 MiB has a pack of %d bytes", n.packBytes())
	}
	n.want(0, "restore", "a", "running", "--no-backup")
	n.answers("a", "g", "token token5")
	n.want(0, "forget", "a", "running")
	if _, err := os.Lstat(filepath.Join(n.home, "storage/checkpoints/a")); !errors.Is(err, os.ErrNotExist) {
		n.t.Errorf("of no checkpoint is left: %v", err)
	}
}

// same compares the content called name of checkpoint id of the paused VM a with the VM's file that the pattern file
// matches.
func (n noid) same(id, name, file string) {
	n.t.Helper()
	content, err := checkpoint.OpenContent(filepath.Join(n.home, "storage/checkpoints/a", id), name)
	check(n.t, err)
	defer content.Close()
	found, err := filepath.Glob(filepath.Join(n.home, "storage/vms/a", file))
	if err != nil || len(found) != 1 {
		n.t.Fatalf("%s: %q, %v", file, found, err)
	}
	f, err := os.Open(found[0])
	check(n.t, err)
	defer f.Close()
	sums := [2][]byte{}
	for i, r := range []io.Reader{f, io.NewSectionReader(content, 0, content.Length)} {
		h := sha256.New()
		_, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, make([]byte, 1<<20))
		check(n.t, err)
		sums[i] = h.Sum(nil)
	}
	if !bytes.Equal(sums[0], sums[1]) {
		n.t.Errorf("%s of checkpoint %s differs from what the paused guest has", name, id)
	}
}

func (n noid) packBytes() int64 {
	_, bytes, err := storage.Usage(filepath.Join(n.home, "storage/checkpoints/a", pack.File))
	check(n.t, err)
	return bytes
}

// spends looks whether the pack is at most twice what has changed and one whole, and whether the sizes of the
// checkpoints tell of all that is in it.
func (n noid) spends(changed int64) {
	n.t.Helper()
	if got := n.packBytes(); got > 2*changed+80<<20 {
		n.t.Errorf("the pack has %d bytes, %d have changed", got, changed)
	}
	var list []struct{ OwnBytes, SharedBytes int64 }
	check(n.t, json.Unmarshal([]byte(strings.NewReplacer("own_bytes", "OwnBytes", "shared_bytes", "SharedBytes").Replace(
		n.want(0, "checkpoints", "a", "--size", "--json"))), &list))
	for i, c := range list {
		if c.SharedBytes == 0 || c.OwnBytes > 40<<20 {
			n.t.Errorf("checkpoint %d of %d has %d bytes of its own and shares %d", i, len(list), c.OwnBytes, c.SharedBytes)
		}
	}
}

// damage rots a block that several of the checkpoints of a have: verify names each of those and no other, and they are
// not restored.
func (n noid) damage(ids []string) {
	n.t.Helper()
	users := map[int64][]string{} // by the block
	for _, id := range ids {
		table, err := checkpoint.Table(filepath.Join(n.home, "storage/checkpoints/a", id), "memory.snap")
		if errors.Is(err, os.ErrNotExist) { // forgotten
			continue
		}
		check(n.t, err)
		for _, e := range table.Extents {
			for at := e.At; at < e.At+e.Len; at += pack.Block {
				users[at] = append(users[at], id)
			}
		}
	}
	for at, want := range users {
		if len(want) != 2 {
			continue
		}
		flip := func() {
			f, err := os.OpenFile(filepath.Join(n.home, "storage/checkpoints/a", pack.File), os.O_RDWR, 0)
			check(n.t, err)
			defer f.Close()
			b := make([]byte, 1)
			_, err = f.ReadAt(b, at+100)
			check(n.t, err)
			b[0] ^= 1
			_, err = f.WriteAt(b, at+100)
			check(n.t, err)
		}
		flip()
		defer n.want(0, "verify", "a", "--read-data")
		defer flip()
		out := n.want(1, "verify", "a", "--read-data")
		for _, id := range ids {
			named := false
			for line := range strings.Lines(out) {
				named = named || strings.Contains(line, id) && strings.Contains(line, "memory.snap differs at")
			}
			if bad := id == want[0] || id == want[1]; bad != named {
				n.t.Errorf("%s shares the damage: %v; verify names it: %v", id, bad, named)
			}
		}
		for _, args := range [][]string{{"restore", "a", want[0]}, {"restore", "a", want[1], "--as", "c"}} {
			if _, errs, code := n.run(args...); code != 1 || !strings.Contains(errs, "damaged") {
				n.t.Errorf("noid %v exits %d: %s", args, code, errs)
			}
		}
		return
	}
	n.t.Error("no two checkpoints share a block alone")
}
