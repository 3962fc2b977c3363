package network

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestNames writes names, reads what a killed writer has left of them, and restores them of a moment an hour ago.
func TestNames(t *testing.T) {
	compareAddrs := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	dir, now := t.TempDir(), time.Now().UTC()
	want := []Name{{"a.example", now.Add(-30 * time.Minute), []netip.Addr{netip.MustParseAddr("1.1.1.1")}},
		{"b.example", now, []netip.Addr{netip.MustParseAddr("2.2.2.2"), netip.MustParseAddr("2606::1")}}}
	if err := SaveNames(dir, want); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, NamesFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(`{"name":"c.exa`); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, LoadNames(dir), compareAddrs); diff != "" {
		t.Error(diff)
	}
	restored := t.TempDir()
	if err := MakeHelperDir(restored); err != nil {
		t.Fatal(err)
	}
	if err := RestoreNames(restored, dir, now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	for i, n := range LoadNames(restored) {
		if late := n.Until.Sub(want[i].Until); late < time.Hour || late > time.Hour+time.Since(now) {
			t.Errorf("%s counts %v longer than at the moment", n.Name, late)
		}
	}
	if err := RestoreNames(restored, t.TempDir(), now); err != nil || LoadNames(restored) != nil {
		t.Errorf("of a checkpoint without names: %v", err)
	}
}
