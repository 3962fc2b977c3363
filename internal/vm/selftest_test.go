package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"noid/internal/errs"
	"noid/internal/proc"
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

// leftByGuests are the directories of guests that are this machine.
func leftByGuests() []string {
	dirs, _ := filepath.Glob("/var/tmp/noid-selftest-*")
	return dirs
}

func atoi(text []byte) int {
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

// TestSelfTest has a driver that keeps guests apart in nothing: the proofs say so. Whatever fails on the way, nothing is
// left, and nobody sees the VMs.
func TestSelfTest(t *testing.T) {
	w := newRunWorld(t)
	w.fake.NoNet = errs.New(errs.ErrHost, "no namespaces here")
	there := leftByGuests() // by another test
	t.Cleanup(func() {
		for _, dir := range leftByGuests() {
			if slices.Contains(there, dir) {
				continue
			}
			pid, _ := os.ReadFile(filepath.Join(dir, "pid"))
			p, err := proc.Identify(atoi(pid))
			if env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID)); err == nil && bytes.Contains(env, []byte(tokenName+"="+strings.TrimPrefix(filepath.Base(dir), "noid-selftest-"))) {
				p.Kill(context.Background())
			}
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
