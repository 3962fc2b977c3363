package vm

import (
	"errors"
	"slices"
	"testing"
	"time"

	"noid/internal/errs"
)

// good is evidence of which all proofs hold.
func good() evidence {
	see := func(vm, random, id string, port uint16) sight {
		return sight{vm: vm, hostname: vm, machineID: id, random: random, alive: true, size: testBytes, sum: [32]byte{1}, own: vm, answers: vm, port: port}
	}
	e := evidence{token: "token", value: "value", downtimeMs: 10, took: time.Second,
		before: see("a", "r0", "id", 1), after: see("a", "r1", "id", 1), restored: see("a", "r2", "id", 1),
		clones: []sight{see("a-1", "r3", "id1", 2), see("a-2", "r4", "id2", 3), see("a-3", "r5", "id3", 4)}}
	e.before.secret, e.after.secret, e.restored.secret = "placeholder", "placeholder", "placeholder"
	return e
}

// TestProofs: each thing that can be wrong fails the proof that is of it, and no other.
func TestProofs(t *testing.T) {
	for name, spoil := range map[string]func(*evidence){
		"":                          func(*evidence) {},
		"memory goes on":            func(e *evidence) { e.clones[2].alive = false },
		"memory goes on, restored":  func(e *evidence) { e.restored.alive = false },
		"bytes are equal":           func(e *evidence) { e.clones[0].sum[31]++ },
		"bytes are equal, none":     func(e *evidence) { e.restored.size = 0 },
		"disks are apart":           func(e *evidence) { e.clones[0].own = "a-3" },
		"disks are apart, source":   func(e *evidence) { e.after.own = "a-3" },
		"clocks are right":          func(e *evidence) { e.clones[1].late = -3 * time.Second },
		"clocks are right, ahead":   func(e *evidence) { e.restored.late = time.Hour },
		"randomness is apart":       func(e *evidence) { e.clones[1].random = e.clones[0].random },
		"randomness is apart, back": func(e *evidence) { e.restored.random = e.after.random },
		"identity is apart":         func(e *evidence) { e.clones[0].machineID = "id" },
		"identity is apart, none":   func(e *evidence) { e.clones[0].machineID = "" },
		"identity is apart, name":   func(e *evidence) { e.clones[2].hostname = "a" },
		"identity is apart, back":   func(e *evidence) { e.restored.machineID = "new" },
		"networks are apart":        func(e *evidence) { e.clones[2].answers = "a" },
		"networks are apart, none":  func(e *evidence) { e.clones[0].answers = "" },
		"networks are apart, port":  func(e *evidence) { e.clones[0].port = 1; e.after.port = 1 },
		"networks are apart, back":  func(e *evidence) { e.restored.answers = "a-1" },
		"secrets are apart":         func(e *evidence) { e.clones[0].secret = "placeholder" },
		"secrets are apart, value":  func(e *evidence) { e.before.secret, e.after.secret = "value", "value" },
		"secrets are apart, kept":   func(e *evidence) { e.inCheckpoint = []string{secretName} },
		"source is unchanged":       func(e *evidence) { e.after.alive = false },
		"source is unchanged, sum":  func(e *evidence) { e.after.sum[0]++ },
		"source is unchanged, who":  func(e *evidence) { e.after.machineID = "new" },
		"checkpoint is unchanged":   func(e *evidence) { e.checkpoint = errors.New("damaged") },
		"downtime":                  func(e *evidence) { e.downtimeMs = 2000 },
		"downtime, none":            func(e *evidence) { e.downtimeMs = 0 },
	} {
		e := good()
		spoil(&e)
		var failed []string
		for _, p := range e.proofs() {
			if p.Failed {
				failed = append(failed, p.Name)
			}
			if p.Detail == "" {
				t.Errorf("%q: %s says nothing", name, p.Name)
			}
		}
		want := []string{name}
		for i, r := range name {
			if r == ',' {
				want = []string{name[:i]}
			}
		}
		if name == "" {
			want = nil
		}
		if !slices.Equal(failed, want) {
			t.Errorf("%q: %q fail", name, failed)
		}
	}
	e := good()
	e.noNet = errs.New(errs.ErrHost, "no namespaces")
	e.clones[0].answers, e.before.secret, e.after.secret = "", "", ""
	var untested []string
	for _, p := range e.proofs() {
		if p.Untested != "" {
			untested = append(untested, p.Name)
		} else if p.Failed {
			t.Errorf("without a network %s fails: %s", p.Name, p.Detail)
		}
	}
	if want := []string{"networks are apart", "secrets are apart"}; !slices.Equal(untested, want) {
		t.Errorf("without a network %q are not tested", untested)
	}
}
