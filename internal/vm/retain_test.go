package vm

import (
	"fmt"
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
