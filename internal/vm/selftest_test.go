package vm

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"noid/internal/errs"
)

// selfTest tests a fake driver whose guests all are this machine.
func (w *world) selfTest() ([]string, error) {
	t, err := w.m.SelfTest(w.Context(), CreateOptions{}, time.Minute, nil)
	var failed []string
	for _, p := range t.Proofs {
		if p.Failed {
			failed = append(failed, p.Name)
		}
	}
	return failed, err
}

// TestSelfTest has a driver that keeps guests apart in nothing: the proofs say so. Whatever fails on the way, nothing is
// left, and nobody sees the VMs.
func TestSelfTest(t *testing.T) {
	w := newRunWorld(t)
	w.fake.NoNet = errs.New(errs.ErrHost, "no namespaces here")
	t.Cleanup(func() {
		dirs, _ := filepath.Glob("/var/tmp/noid-selftest-*") // of those guests, which are this machine
		for _, dir := range dirs {
			os.RemoveAll(dir)
		}
	})
	before := w.look()
	w.fake.Reset()
	failed, err := w.selfTest()
	if want := []string{"memory goes on", "bytes are equal", "disks are apart", "identity is apart"}; err != nil || !slices.Equal(failed, want) {
		t.Errorf("%q fail, not %q; %v", failed, want, err)
	}
	calls := w.fake.Calls()
	for _, step := range []string{"start", "snapshot", "load", "agent exec"} {
		at := slices.Index(calls, step)
		if at < 0 {
			t.Fatalf("%q is none of %q", step, calls)
		}
		w.fake.Reset(at)
		_, err := w.selfTest()
		if calls := w.fake.Calls(); calls[at] == step && err == nil { // else an agent that was not there yet was asked again
			t.Errorf("%s fails: no error", step)
		}
		w.fake.Reset()
		if got := w.look(); got != before {
			t.Errorf("%s fails: %s, not %s", step, got, before)
		}
		w.noLeftovers(step + " fails")
	}
}
