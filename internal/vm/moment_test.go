package vm

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
)

// execAt has the shell run script in the moment a@ref.
func (w *world) execAt(ref, script string, streams Streams) (int, string, error) {
	var b bytes.Buffer
	streams.Out = &b
	exit, err := w.m.ExecAt(w.Context(), "a", ref, Command{Argv: []string{"sh", "-c", script}, Wait: time.Minute}, streams)
	return exit.Code, b.String(), err
}

// TestExecAt looks into moments of a VM, with each step failing: nobody sees the clone, nothing is left, and the VM
// stays what it was.
func TestExecAt(t *testing.T) {
	w := newRunWorld(t)
	before := w.look()
	for _, c := range []struct {
		ref   string
		steps []string
	}{
		{"old", []string{"can load", "load", "resume", "agent ping", "agent look", "agent exec"}},
		{Now, []string{"agent freeze, clock", "write back", "pause", "snapshot", "resume", "agent thaw, clock", "load", "resume", "agent ping", "agent look", "agent exec"}},
	} {
		w.fake.Reset()
		seen := ""
		code, out, err := w.execAt(c.ref, "echo out; exit 7", Streams{Begin: func() error { seen = w.look(); return nil }})
		if err != nil || code != 7 || out != "out\n" {
			t.Errorf("%s: exit %d, %q, %v", c.ref, code, out, err)
		}
		if seen != before {
			t.Errorf("%s: meanwhile %s, not %s", c.ref, seen, before)
		}
		steps := slices.Compact(w.fake.Calls())
		if diff := cmp.Diff(c.steps, steps); diff != "" {
			t.Errorf("%s: steps:\n%s", c.ref, diff)
		}
		for at, step := range steps {
			if at < slices.Index(steps, "load")-1 { // TestFork has the capture fail
				continue
			}
			w.fake.Reset(at)
			_, _, err := w.execAt(c.ref, "exit 7", Streams{})
			if step != "agent thaw, clock" && step != "agent ping" && err == nil {
				t.Errorf("%s: %s fails: no error", c.ref, step)
			}
			w.fake.Reset()
			if got := w.look(); got != before {
				t.Errorf("%s: %s fails: %s, not %s", c.ref, step, got, before)
			}
			w.noLeftovers(c.ref + ": " + step + " fails")
		}
	}
}

// TestExecAtRefuses: what no clone can do, and a label that would hide the present.
func TestExecAtRefuses(t *testing.T) {
	w := newRunWorld(t)
	for _, c := range []Command{{Argv: []string{"true"}, Detach: true}, {Argv: []string{"true"}, Serial: true}, {Argv: []string{"a\x00"}}} {
		if _, err := w.m.ExecAt(t.Context(), "a", "old", c, Streams{}); !errors.Is(err, errs.ErrUsage) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := w.m.Checkpoint(t.Context(), "a", Now); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("a label %q: %v", Now, err)
	}
	err := w.m.Copy(t.Context(), []Place{{Path: "/etc/hostname"}}, Place{VM: "a", Ref: "old", Path: "/"}, CopyOptions{})
	if !errors.Is(err, errs.ErrUsage) || !strings.Contains(errs.Hint(err), "noid fork a@old --as NEW") {
		t.Errorf("a copy into a moment: %v, %s", err, errs.Hint(err))
	}
	if calls := w.fake.Calls(); len(calls) > 0 {
		t.Errorf("it did %q", calls)
	}
}
