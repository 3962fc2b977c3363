package vm

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"noid/internal/checkpoint"
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

// undoes wants undo to put the VM "a" back to checkpoint to.
func (w *world) undoes(what, to string) {
	w.Helper()
	v, err := w.m.record("a")
	must(w.T, err)
	if id, err := w.m.back(v, 1); id != to || err != nil {
		w.Errorf("%s: undo goes to %q, %v, want %s", what, id, err, to)
	}
}

// TestTouchedMeanwhile: who asks something of the guest while a checkpoint is being made, or has asked and it is not
// done yet, has touched the VM.
func TestTouchedMeanwhile(t *testing.T) {
	w := newRunWorld(t)
	made := func() string {
		c, err := w.m.Checkpoint(t.Context(), "a", "")
		must(t, err)
		return c.ID
	}
	first := made()
	second := made()
	w.undoes("nobody asked anything", first)
	w.fake.Called = func(name string) {
		if name == "resume" {
			(&session{Manager: w.m, dir: w.dir("a")}).touch()
		}
	}
	third := made()
	w.fake.Called = nil
	w.undoes("it was touched when it ran again", third)
	fourth := made()
	w.undoes("and not after the next one", third)
	_, err := w.m.Exec(t.Context(), "a", Command{Argv: []string{"true"}, Wait: time.Minute}, Streams{Begin: func() error {
		second = made()
		w.undoes("a command has begun", fourth)
		return nil
	}})
	must(t, err)
	w.undoes("a command has ended", second)
	if _, err := w.m.Checkpoint(canceled(t), "a", ""); err == nil {
		t.Error("a checkpoint that was cancelled was made")
	}
	w.undoes("a checkpoint failed", second)
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// TestRedoChanged: what was undone is not done again in a VM that has changed since, also when that was kept meanwhile.
func TestRedoChanged(t *testing.T) {
	w := newRunWorld(t)
	for range 2 {
		_, err := w.m.Checkpoint(t.Context(), "a", "")
		must(t, err)
	}
	_, err := w.m.Undo(t.Context(), "a", 1)
	must(t, err)
	_, err = w.m.Checkpoint(t.Context(), "a", "") // of what the undo went to
	must(t, err)
	_, err = w.m.Redo(t.Context(), "a", 1)
	must(t, err)
	_, err = w.m.Undo(t.Context(), "a", 1)
	must(t, err)
	_, err = w.m.Exec(t.Context(), "a", Command{Argv: []string{"true"}, Wait: time.Minute}, Streams{})
	must(t, err)
	_, err = w.m.Checkpoint(t.Context(), "a", "")
	must(t, err)
	if _, err := w.m.Redo(t.Context(), "a", 1); !errors.Is(err, errs.ErrState) {
		t.Errorf("redo in a vm that has changed: %v", err)
	}
}

// TestTryWentBack: after a try that went back all is as if there had been none: undo and redo too.
func TestTryWentBack(t *testing.T) {
	w := newRunWorld(t)
	fails := Command{Argv: []string{"false"}, Wait: time.Minute}
	try := func() {
		t.Helper()
		if tried, err := w.m.Try(t.Context(), "a", fails, Streams{}, TryOptions{}); err != nil || !tried.Back {
			t.Fatalf("%+v, %v", tried, err)
		}
	}
	c, err := w.m.Checkpoint(t.Context(), "a", "")
	must(t, err)
	kept := ""
	must(t, w.m.Restore(t.Context(), "a", c.ID, RestoreOptions{Kept: func(id string) { kept = id }}))
	w.undoes("after a restore", kept)
	try()
	w.undoes("and a try", kept)
	u, err := w.m.Undo(t.Context(), "a", 1)
	must(t, err)
	try()
	r, err := w.m.Redo(t.Context(), "a", 1)
	if err != nil || r.To.ID != u.Kept {
		t.Errorf("redo after a try: %s, %v, want %s", r.To.ID, err, u.Kept)
	}
}

// TestKeepOfLast: a variant's number means the last exploration, of which there may be no variant.
func TestKeepOfLast(t *testing.T) {
	w := newWorld(t, false)
	keep := func(turn string) string {
		id, err := w.m.checkpointAuto(t.Context(), "a", checkpoint.Cause{By: checkpoint.ByExplore, What: "x", Turn: turn})
		must(t, err)
		return id
	}
	keep("aaaaaaaa.0")
	first, third := keep("aaaaaaaa.1"), keep("aaaaaaaa.3")
	if id, others, err := w.m.variant(t.Context(), "a", "3"); id != third || len(others) != 1 || others[0] != first || err != nil {
		t.Errorf("of the only one: %q, beside %q, %v", id, others, err)
	}
	keep("bbbbbbbb.0")
	if id, _, err := w.m.variant(t.Context(), "a", "3"); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("of one without variants: %q, %v", id, err)
	}
	keep("bbbbbbbb.1")
	if id, _, err := w.m.variant(t.Context(), "a", "3"); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("of the one before: %q, %v", id, err)
	}
	if id, _, err := w.m.variant(t.Context(), "a", third); id != third || err != nil {
		t.Errorf("by its id: %q, %v", id, err)
	}
}

// TestDiffWithPresent: what a VM alone is compared with is where it is, and not the newest.
func TestDiffWithPresent(t *testing.T) {
	w := newWorld(t, false)
	c, err := w.m.Checkpoint(t.Context(), "a", "")
	must(t, err)
	must(t, w.m.Restore(t.Context(), "a", c.ID, RestoreOptions{})) // which keeps the present, the newest
	if before, _, err := w.m.Moments(t.Context(), []string{"a"}); err != nil || before.Ref != c.ID {
		t.Errorf("%+v, %v, want %s", before, err, c.ID)
	}
	must(t, w.m.Forget(t.Context(), "a", []string{c.ID}))
	if before, _, err := w.m.Moments(t.Context(), []string{"a"}); err != nil || before.Ref == c.ID {
		t.Errorf("of one that was forgotten: %+v, %v", before, err)
	}
}

// TestTypedMeanwhile: what is typed after a checkpoint touches the VM, while the command still runs.
func TestTypedMeanwhile(t *testing.T) {
	w := newRunWorld(t)
	id, reads := "", 0
	in := readFunc(func(b []byte) (int, error) {
		switch reads++; reads {
		case 1:
			c, err := w.m.Checkpoint(t.Context(), "a", "")
			must(t, err)
			id = c.ID
			return copy(b, "x\n"), nil
		case 2:
			w.undoes("a line was typed", id)
		}
		return 0, io.EOF
	})
	_, err := w.m.Exec(t.Context(), "a", Command{Argv: []string{"cat"}, Stdin: true, Wait: time.Minute}, Streams{In: in, Out: io.Discard})
	must(t, err)
	if id == "" || reads < 2 {
		t.Errorf("%d reads", reads)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

// TestTryPins: while a try runs, what it may go back to is pinned.
func TestTryPins(t *testing.T) {
	w := newRunWorld(t)
	pinned := func() (ids []string) {
		h, err := w.m.Log(t.Context(), "a", 0, false)
		must(t, err)
		for _, e := range h.Entries {
			if e.Pinned {
				ids = append(ids, e.ID)
			}
		}
		return ids
	}
	var during []string
	tried, err := w.m.Try(t.Context(), "a", Command{Argv: []string{"true"}, Wait: time.Minute}, Streams{Begin: func() error { during = pinned(); return nil }}, TryOptions{})
	if err != nil || len(during) != 1 || during[0] != tried.Before {
		t.Errorf("pinned are %q, want %s; %v", during, tried.Before, err)
	}
	if after := pinned(); len(after) > 0 {
		t.Errorf("%q stay pinned", after)
	}
}
