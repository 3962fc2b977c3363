package vm

import (
	"os"
	"path/filepath"
	"testing"
)

// TestForgottenBetween: what came before a checkpoint is known also where those between were forgotten, one after the
// other or at once.
func TestForgottenBetween(t *testing.T) {
	w := newWorld(t, false)
	var ids []string
	for range 6 {
		c, err := w.m.Checkpoint(t.Context(), "a", "")
		must(t, err)
		ids = append(ids, c.ID)
	}
	parents := func() map[string]string {
		h, err := w.m.Log(t.Context(), "a", 0, false)
		must(t, err)
		by := map[string]string{"now": h.Now}
		for _, e := range h.Entries {
			by[e.ID] = e.Parent
		}
		return by
	}
	want := func(id, parent string) {
		t.Helper()
		if got := parents()[id]; got != parent {
			t.Errorf("%s comes from %q, want %q", id, got, parent)
		}
	}
	must(t, w.m.Forget(t.Context(), "a", []string{ids[2]}))
	want(ids[3], "a@"+ids[1])
	must(t, w.m.Forget(t.Context(), "a", []string{ids[1], ids[3]}))
	want(ids[4], "a@"+ids[0])
	line, err := w.m.lineage(t.Context(), "a", ids[0], ids[5])
	must(t, err)
	if len(line) != 3 || line[1].ID != ids[4] {
		t.Errorf("%d checkpoints from the first to the last, want 3", len(line))
	}
	must(t, w.m.Forget(t.Context(), "a", []string{ids[5]})) // that the VM came from
	want("now", ids[4])
	v, err := w.m.record("a")
	must(t, err)
	for n, to := range []string{ids[4], ids[0]} {
		if id, err := w.m.back(v, n+1); id != to || err != nil {
			t.Errorf("undo %d goes to %q, %v, want %s", n+1, id, err, to)
		}
	}
	c, err := w.m.Checkpoint(t.Context(), "a", "")
	must(t, err)
	want(c.ID, "a@"+ids[4])
	must(t, w.m.Forget(t.Context(), "a", []string{ids[0]}))
	want(ids[4], "a@"+ids[3]) // of which nothing is left, nor of what came before
	must(t, w.m.ForgetAll(t.Context(), "a"))
	if left, _ := os.ReadDir(w.m.Home.CheckpointsDir("a")); len(left) > 0 {
		t.Errorf("%d files are left in %s", len(left), filepath.Base(w.m.Home.CheckpointsDir("a")))
	}
}
