package vm

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"noid/internal/checkpoint"
)

// TestRetention: what restic's forget keeps by the same rules, of a checkpoint every six hours for ten days, the newest
// on 2026-03-11 at 18:00.
func TestRetention(t *testing.T) {
	newest := time.Date(2026, 3, 11, 18, 0, 0, 0, time.Local)
	made := func() []Planned {
		var plan []Planned
		for i := range 40 {
			at := newest.Add(-time.Duration(i) * 6 * time.Hour)
			plan = append(plan, Planned{LogEntry: LogEntry{CheckpointEntry: CheckpointEntry{Checkpoint: checkpoint.Record{ID: fmt.Sprint(i), CreatedAt: at}}}})
		}
		return plan
	}
	kept := func(plan []Planned) string {
		var ids []string
		for _, p := range plan {
			if p.Keep() {
				ids = append(ids, p.ID)
			}
		}
		return strings.Join(ids, " ")
	}
	for _, c := range []struct {
		name string
		r    Retention
		want string
	}{
		{"last", Retention{Last: 3}, "0 1 2"},
		{"hourly", Retention{Hourly: 2}, "0 1"},
		{"daily", Retention{Daily: 3}, "0 4 8"},
		{"weekly", Retention{Weekly: 2}, "0 12"}, // 2026-03-08 is a Sunday
		{"monthly", Retention{Monthly: 5}, "0"},
		{"last and daily", Retention{Last: 2, Daily: 2}, "0 1 4"},
		{"within", Retention{Within: 13 * time.Hour}, "0 1 2"},
		{"more than there are", Retention{Daily: 100}, "0 4 8 12 16 20 24 28 32 36"},
	} {
		plan := made()
		c.r.apply(plan)
		if got := kept(plan); got != c.want {
			t.Errorf("%s keeps %q, want %q", c.name, got, c.want)
		}
	}
	plan := made()
	plan[39].Because = []string{"pinned"}
	plan[20].Label = "nightly"
	Retention{Last: 1, Labels: []string{"nightly"}}.apply(plan)
	if got := kept(plan); got != "0 20 39" || !slices.Equal(plan[20].Because, []string{"label"}) {
		t.Errorf("a label, a pin and the last keep %q, because of %q", got, plan[20].Because)
	}
}

// TestRetentionBytes: --max-bytes lets the oldest go, but never what always stays.
func TestRetentionBytes(t *testing.T) {
	w := newWorld(t, false)
	for range 4 {
		_, err := w.m.Checkpoint(t.Context(), "a", "")
		must(t, err)
	}
	plan, err := w.m.Prune(t.Context(), "a", Retention{MaxBytes: 1}, false)
	must(t, err)
	var stayed int
	for _, p := range plan {
		if p.Keep() {
			stayed++
		}
	}
	entries, err := w.m.Checkpoints(t.Context(), "a", false, false)
	must(t, err)
	if stayed != 1 || len(entries) != 1 || entries[0].ID != plan[0].ID {
		t.Errorf("%d are kept and %d there: the one that the VM was kept as last is to stay alone", stayed, len(entries))
	}
}

// TestBoundAutomatic: of the checkpoints that noid made by itself the newest stay, with those that are pinned; nothing
// else goes.
func TestBoundAutomatic(t *testing.T) {
	w := newWorld(t, false)
	w.m.Config.AutoKeep = 2
	made := func() string {
		id, err := w.m.checkpointAuto(t.Context(), "a", checkpoint.Cause{By: checkpoint.ByTry, What: "true"})
		must(t, err)
		return id
	}
	labelled, err := w.m.Checkpoint(t.Context(), "a", "mine")
	must(t, err)
	pinned := made()
	_, err = w.m.Pin(t.Context(), "a", pinned, true)
	must(t, err)
	want := []string{labelled.ID, pinned}
	for i := range 4 {
		if id := made(); i >= 2 {
			want = append(want, id)
		}
	}
	w.m.boundAutomatic(t.Context(), "a")
	entries, err := w.m.Checkpoints(t.Context(), "a", false, false)
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v stay, want %v", got, want)
	}
}

// TestBoundIsDue: in a history of 1,024 noid looks a quarter as often for too many as in a short one.
func TestBoundIsDue(t *testing.T) {
	w := newWorld(t, false)
	due := func() (n int) {
		for i := range 256 {
			if w.m.boundIsDue("a", fmt.Sprintf("%08x", i<<20|i)) {
				n++
			}
		}
		return n
	}
	short := due()
	for i := range 1024 {
		must(t, os.MkdirAll(w.m.Home.CheckpointDir("a", fmt.Sprintf("%08x", i)), 0o700))
	}
	if long := due(); short != 256 || long != 64 {
		t.Errorf("of 256 ids %d are due in a short history and %d in a long one, want 256 and 64", short, long)
	}
	if w.m.boundIsDue("a", "10000000") {
		t.Error("15 of 16 ids are never due")
	}
}
