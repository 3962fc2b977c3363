package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"noid/internal/errs"
)

// TestRename renames a VM that runs: what noid knew of it, it knows by the new name, and the guest is not touched.
func TestRename(t *testing.T) {
	w := newWorld(t, true)
	c, err := w.m.Checkpoint(t.Context(), "a", "old")
	must(t, err)
	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{NoBackup: true}))
	second, err := w.m.Checkpoint(t.Context(), "a", "second")
	must(t, err)
	client := func() *session { s, err := w.m.look("a", "exec"); must(t, err); return s }()
	agent := client.agent()
	before, err := w.m.Info(t.Context(), "a")
	must(t, err)
	w.fake.Reset()

	must(t, w.m.Rename(t.Context(), "a", "b"))
	if calls := w.fake.Calls(); len(calls) > 0 {
		t.Errorf("the driver was asked to %v", calls)
	}
	after, err := w.m.Info(t.Context(), "b")
	if err != nil || after.State != Running || after.Process != before.Process || after.RestoredFrom != "b@"+c.ID {
		t.Errorf("it is %+v, %v", after, err)
	}
	if ref, err := os.Readlink(filepath.Join(w.dir("b"), lastFile)); ref != "b@"+second.ID {
		t.Errorf("its last checkpoint is %s, %v", ref, err)
	}
	if got, err := w.m.Home.LoadCheckpoint("b", second.ID); err != nil || got.VM != "b" || got.Parent != "b@"+c.ID {
		t.Errorf("its checkpoint is %+v, %v", got, err)
	}
	// A client from before finds its guest, as after a checkpoint, which breaks its connection.
	wait, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := agent.Info(wait); err != nil {
		t.Errorf("a client from before: %v", err)
	}
	must(t, w.m.Restore(t.Context(), "b", "old", RestoreOptions{}))
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a"}))
	if _, err := w.m.Checkpoints(t.Context(), "a", true, false); err != nil {
		t.Error(err)
	}
}

// TestHeldDirs holds the directory of a VM once, however many clients there are, and none of one that is gone or when the
// manager is closed.
func TestHeldDirs(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	must(t, os.Mkdir(a, 0o700))
	must(t, os.Mkdir(b, 0o700))
	var h heldDirs
	first := h.hold(a)
	if h.hold(a) != first || h.hold(b) == first || len(h.files) != 2 || h.hold(filepath.Join(dir, "none")) != nil {
		t.Errorf("two directories are %d", len(h.files))
	}
	must(t, os.Rename(a, filepath.Join(dir, "c")))
	if h.hold(filepath.Join(dir, "c")) != first {
		t.Error("a renamed directory is another one")
	}
	must(t, os.Mkdir(a, 0o700))
	must(t, os.Remove(b))
	if h.hold(a) == first || len(h.files) != 2 {
		t.Errorf("with one new and one gone they are %d", len(h.files))
	}
	h.close()
	if _, err := first.Stat(); !errors.Is(err, os.ErrClosed) || len(h.files) != 0 {
		t.Errorf("after the end: %v", err)
	}
}

// TestRenameRefused has Rename refuse a name that is not free, and what is not there.
func TestRenameRefused(t *testing.T) {
	w := newWorld(t, false)
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "b", NoAgent: true}))
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "gone", NoAgent: true}))
	_, err := w.m.Checkpoint(t.Context(), "gone", "kept")
	must(t, err)
	_, err = w.m.Destroy(t.Context(), "gone", false)
	must(t, err)
	before := w.look()
	for _, tt := range []struct {
		old, new string
		want     error
	}{
		{"a", "b", errs.ErrExists}, {"a", "a", errs.ErrExists}, {"a", "gone", errs.ErrExists}, {"none", "c", errs.ErrNotFound},
		{"none", "b", errs.ErrNotFound}, {"a", "../c", errs.ErrUsage}, {"../a", "c", errs.ErrUsage}, {"gone", "a", errs.ErrExists},
	} {
		if err := w.m.Rename(t.Context(), tt.old, tt.new); !errors.Is(err, tt.want) {
			t.Errorf("%q to %q: %v", tt.old, tt.new, err)
		}
	}
	if got := w.look(); got != before {
		t.Errorf("afterwards: %s, not %s", got, before)
	}
	w.noLeftovers("refused")
	must(t, w.m.Rename(t.Context(), "gone", "back"))
	must(t, w.m.Restore(t.Context(), "back", "kept", RestoreOptions{}))
}
