package vm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"noid/internal/errs"
	"noid/internal/vmm"
)

// TestDiskOnlyHint: where the memory cannot be loaded, restore names the cure, and no other verb does.
func TestDiskOnlyHint(t *testing.T) {
	w := newWorld(t)
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a"}))
	_, err := w.m.Checkpoint(t.Context(), "a", "one")
	must(t, err)
	for verb, do := range map[string]func() error{
		"restore": func() error { return w.m.Restore(t.Context(), "a", "one", RestoreOptions{As: "b"}) },
		"fork": func() error {
			_, err := w.m.Fork(t.Context(), "a", "one", ForkOptions{As: "b"}, func(string, error) {})
			return err
		},
	} {
		w.fake.Reset(0) // can load
		if err := do(); err == nil || strings.Contains(errs.Hint(err), "--disk-only") != (verb == "restore") {
			t.Errorf("%s: %v, hint %q", verb, err, errs.Hint(err))
		}
	}
	w.fake.Reset(0)
	if err := w.m.Restore(t.Context(), "a", "one", RestoreOptions{As: "b", DiskOnly: true}); err == nil {
		t.Error("a disk boots though the driver cannot start")
	}
	w.fake.Reset()
	must(t, w.m.Restore(t.Context(), "a", "one", RestoreOptions{As: "b", DiskOnly: true}))
	must(t, w.m.Restore(t.Context(), "a", "one", RestoreOptions{DiskOnly: true}))
	if calls := w.fake.Calls(); slices.Contains(calls, "load") || slices.Contains(calls, "can load") {
		t.Errorf("a disk alone: %q", calls)
	}
}

func TestOtherVersion(t *testing.T) {
	said := errors.New("loading the snapshot: invalid version")
	for _, tt := range []struct {
		name, saved, here string
		explained         bool
	}{
		{"the same", "1.16.1", "1.16.1", false},
		{"an older binary", "1.16.1", "1.10.0", true},
		{"a newer binary", "1.10.0", "1.16.1", true},
		{"a binary that does not tell", "1.16.1", "", false},
		{"not recorded", "", "1.16.1", false},
	} {
		err := otherVersion(vmm.Machine{Driver: "fake", DriverVersion: tt.saved}, tt.here, said)
		if !errors.Is(err, said) || errors.Is(err, errs.ErrHost) != tt.explained || strings.Contains(errs.Hint(err), "fake "+tt.saved) != tt.explained {
			t.Errorf("%s: %v, hint %q", tt.name, err, errs.Hint(err))
		}
	}
}
