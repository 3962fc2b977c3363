package home

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"noid/internal/checkpoint"
	"noid/internal/errs"
)

const renamedID = "0123abcd"

// newRenamed is a home with the VM old and its checkpoint.
func newRenamed(t *testing.T) *Home {
	h := openHome(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(h.VMDir("old"), 0o700))
	must(h.SaveVM(h.VMDir("old"), VM{Name: "old", RestoredFrom: "old@" + renamedID}))
	must(os.MkdirAll(h.CheckpointDir("old", renamedID), 0o700))
	must(checkpoint.Write(h.CheckpointDir("old", renamedID), checkpoint.Record{ID: renamedID, VM: "old", CreatedAt: epoch, Parent: "old@ffffffff"}))
	return h
}

// checkRenamed looks whether the VM and its checkpoint are called name, and nothing else is there.
func checkRenamed(t *testing.T, h *Home, name string) {
	t.Helper()
	v, err := h.LoadVM(name)
	if err != nil || v.Name != name || v.RestoredFrom != name+"@"+renamedID {
		t.Errorf("vm %q: %+v, %v", name, v, err)
	}
	c, err := h.FindCheckpoint(t.Context(), name, renamedID[:3])
	if err != nil || c.VM != name || c.Parent != name+"@ffffffff" {
		t.Errorf("its checkpoint: %+v, %v", c, err)
	}
	vms, err1 := h.ListVMs(t.Context())
	owners, err2 := h.CheckpointOwners()
	staged, err3 := os.ReadDir(h.StagingRoot())
	if err := errors.Join(err1, err2, err3); err != nil || len(vms) != 1 || vms[0].Name != name || len(owners) != 1 || len(staged) != 0 {
		t.Errorf("there are %v, checkpoints of %v, staged %v, %v", vms, owners, staged, err)
	}
}

func TestRename(t *testing.T) {
	h := newRenamed(t)
	if err := h.Rename("old", "new"); err != nil {
		t.Fatal(err)
	}
	checkRenamed(t, h, "new")
}

// TestRenameFails has each half fail: nothing has changed then.
func TestRenameFails(t *testing.T) {
	for _, root := range []func(*Home) string{(*Home).VMsDir, (*Home).CheckpointsRoot} {
		h := newRenamed(t)
		inTheWay := filepath.Join(root(h), "new")
		if err := os.WriteFile(inTheWay, nil, 0o600); err != nil { // a directory does not replace a file
			t.Fatal(err)
		}
		if err := h.Rename("old", "new"); err == nil {
			t.Errorf("with %s in the way it has worked", inTheWay)
		}
		if err := os.Remove(inTheWay); err != nil {
			t.Fatal(err)
		}
		checkRenamed(t, h, "old")
	}
}

// TestRenameKilled sweeps what a rename leaves that is killed between two of its steps. While one of the names is
// locked, it stays as it is.
func TestRenameKilled(t *testing.T) {
	for _, tt := range []struct {
		name string
		done func(h *Home) error
		want string
	}{
		{"before the first", func(*Home) error { return nil }, "old"},
		{"half done", func(h *Home) error { return os.Rename(h.CheckpointsDir("old"), h.CheckpointsDir("new")) }, "new"},
		{"after the last", func(h *Home) error {
			return errors.Join(os.Rename(h.CheckpointsDir("old"), h.CheckpointsDir("new")), os.Rename(h.VMDir("old"), h.VMDir("new")))
		}, "new"},
	} {
		h := newRenamed(t)
		mark := h.staged(renamePrefix, "old")
		if err := errors.Join(os.Symlink("new", mark), tt.done(h)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"old", "new"} {
			lock, err := h.Lock(t.Context(), name, "checkpoint")
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Sweep(t.Context(), "list"); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if _, err := os.Lstat(mark); err != nil {
				t.Errorf("%s, and %q is locked: %v", tt.name, name, err)
			}
			lock.Unlock()
		}
		if err := h.Sweep(t.Context(), "list"); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		checkRenamed(t, h, tt.want)
	}
}

// TestRenameSweepsNoOther has marks that no rename has made: they move nothing.
func TestRenameSweepsNoOther(t *testing.T) {
	h := newRenamed(t)
	for base, target := range map[string]string{".ren-old-1": "../vms/new", ".ren-old-2": "old", ".ren-../old-3": "new", ".ren-": "new", ".ren-new-4": "old"} {
		os.Symlink(target, filepath.Join(h.StagingRoot(), base))
	}
	if err := h.Sweep(t.Context(), "list"); err != nil && !errors.Is(err, errs.ErrBusy) {
		t.Error(err)
	}
	if v, err := h.LoadVM("old"); err != nil || v.Name != "old" {
		t.Errorf("%+v, %v", v, err)
	}
	if c, err := h.LoadCheckpoint("old", renamedID); err != nil || c.VM != "old" {
		t.Errorf("%+v, %v", c, err)
	}
}
