package vm

import (
	"errors"
	"strings"
	"testing"

	"noid/internal/errs"
)

// TestUndoForgotten: what came before a forgotten checkpoint is gone, and undo says so.
func TestUndoForgotten(t *testing.T) {
	w := newWorld(t, false)
	var ids []string
	for range 3 {
		c, err := w.m.Checkpoint(t.Context(), "a", "")
		must(t, err)
		ids = append(ids, c.ID)
	}
	must(t, w.m.Forget(t.Context(), "a", ids[:2]))
	for n := 1; n <= 2; n++ {
		if _, err := w.m.Undo(t.Context(), "a", n); !errors.Is(err, errs.ErrState) || !strings.Contains(err.Error(), ids[1]+" of vm \"a\" was forgotten") {
			t.Errorf("undo %d: %v", n, err)
		}
	}
	must(t, w.m.Forget(t.Context(), "a", ids[2:]))
	if _, err := w.m.Undo(t.Context(), "a", 1); !errors.Is(err, errs.ErrState) || !strings.Contains(err.Error(), ids[2]) {
		t.Errorf("without any checkpoint: %v", err)
	}
}
