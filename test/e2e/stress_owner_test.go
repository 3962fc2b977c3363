package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"noid/internal/vmm/conformance/tinyguest"
)

// tokens are those that a guest may have: one, unless a command was cut short.
type tokens map[string]bool

// owner has a VM that nobody else uses, and knows what each command must answer.
type owner struct {
	s            *stress
	rng          *rand.Rand
	name, driver string
	state        string // "absent", "running", "paused" or "stopped"
	has          tokens // of the running or paused guest
	kept         map[string]tokens
}

func newOwner(s *stress, rng *rand.Rand, name, driver string) *owner {
	return &owner{s: s, rng: rng, name: name, driver: driver, state: "absent", kept: map[string]tokens{}}
}

// work does one thing after the other, until ctx ends or something is wrong.
func (o *owner) work(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		if !o.step(n) {
			return
		}
	}
}

// move is a command and what it does to the VM.
type move struct {
	args  []string
	code  int
	state string // afterwards
	has   tokens // afterwards
	done  func(result)
}

// step does one thing. It returns false when what came of it is not understood.
func (o *owner) step(n int) bool {
	up := o.state == "running" || o.state == "paused"
	code := func(ok bool, otherwise int) int {
		switch {
		case o.state == "absent":
			return 3
		case ok:
			return 0
		}
		return otherwise
	}
	id := "00000000"
	if ids := slices.Sorted(maps.Keys(o.kept)); len(ids) > 0 && o.rng.IntN(10) > 0 {
		id = ids[o.rng.IntN(len(ids))]
	}
	kept := o.kept[id]
	same := move{state: o.state, has: o.has}
	switch pick := o.rng.IntN(16); {
	case o.state == "absent" && pick < 8, pick == 0:
		m := move{o.s.create(o.name, o.driver), 4, o.state, o.has, nil}
		if o.state == "absent" {
			m = move{m.args, 0, "running", tokens{"": true}, nil}
		}
		return o.do(m)
	case pick == 1, pick == 2:
		if o.state != "running" {
			return true
		}
		token := fmt.Sprintf("%s-%d", o.name, n)
		got, err := tinyguest.Ask(o.s.vmDir(o.name), "s "+token, askBound)
		if err != nil || got != "token "+token {
			o.wrong("told %q the guest answers %q: %v", token, got, err)
			return false
		}
		o.has = tokens{token: true}
		return true
	case pick <= 5:
		same.args, same.code = []string{"checkpoint", o.name, "--label", "own"}, code(up, 5)
		has := o.has
		same.done = func(r result) { o.kept[strings.TrimSpace(r.out)] = has }
		if len(o.kept) > 4 {
			same.args, same.code, same.done = []string{"forget", o.name, id}, 0, func(result) { delete(o.kept, id) }
			if kept == nil {
				same.code = 3
			}
		}
		return o.do(same)
	case pick <= 7:
		args := []string{"restore", o.name, id}
		if o.rng.IntN(2) == 0 {
			args = append(args, "--no-backup")
		}
		if kept == nil {
			same.args, same.code = args, 3
			return o.do(same)
		}
		return o.do(move{args, 0, "running", kept, func(result) { o.backups() }})
	case pick == 8:
		return o.clone(id, kept)
	case pick == 9:
		same.args, same.code = []string{"pause", o.name}, code(up, 5)
		if up {
			same.state = "paused"
		}
		return o.do(same)
	case pick == 10, pick == 11:
		same.args, same.code = []string{"resume", o.name}, code(up, 5)
		if up {
			same.state = "running"
		}
		return o.do(same)
	case pick == 12:
		same.args, same.code = []string{"stop", "--force", o.name}, code(true, 5)
		if up {
			same.state, same.has = "stopped", nil
		}
		return o.do(same)
	case pick == 13:
		same.args, same.code = []string{"start", o.name}, code(!up, 5)
		if o.state == "stopped" {
			same.state, same.has = "running", tokens{"": true}
		}
		return o.do(same)
	case pick == 14:
		if o.rng.IntN(2) == 0 {
			return o.do(move{[]string{"destroy", o.name}, code(true, 0), "absent", nil, nil})
		}
		return o.look()
	}
	return o.look()
}

// do makes a move and holds the outcome against it.
func (o *owner) do(m move) bool {
	r := o.s.call(o.rng, true, m.args...)
	if !r.over() {
		return o.recover(m, r)
	}
	if r.code != m.code {
		o.s.problem(r, "the exit code of a vm that was %s must be %d", o.state, m.code)
		return false
	}
	o.state, o.has = m.state, m.has
	if r.code == 0 && m.done != nil {
		m.done(r)
	}
	return o.confirm(r)
}

// confirm asks a running guest for its token.
func (o *owner) confirm(r result) bool {
	if o.state != "running" {
		return true
	}
	token, err := o.s.token(o.name)
	if err != nil || !o.has[token] {
		o.s.problem(r, "the guest's token is %q, not in %v: %v", token, o.has, err)
		return false
	}
	o.has = tokens{token: true}
	return true
}

// inspect returns the state that noid sees.
func (o *owner) inspect() (string, result) {
	r := o.s.call(o.rng, false, "inspect", o.name)
	if r.code == 3 {
		return "absent", r
	}
	var vm struct{ State string }
	if err := json.Unmarshal([]byte(r.out), &vm); err != nil || r.code != 0 {
		o.s.problem(r, "%v", err)
		return "", r
	}
	return vm.State, r
}

// recover finds out what became of a command that was cut short: all of it or nothing, and no VM is left paused.
func (o *owner) recover(m move, cut result) bool {
	want := []string{o.state, m.state}
	if verb := m.args[0]; verb == "create" || verb == "start" || verb == "stop" {
		want = append(want, "stopped", "dead") // its VMM may be up without being recorded: the next command sees to that
	}
	var state string
	var seen result
	for deadline := time.Now().Add(settleBound); ; time.Sleep(20 * time.Millisecond) {
		if state, seen = o.inspect(); slices.Contains(want, state) {
			break
		}
		if time.Now().After(deadline) {
			o.s.problem(cut, "the vm was %s and is left %s, not one of %v; inspect: %s", o.state, state, want, seen.out)
			return false
		}
	}
	both := tokens{}
	maps.Copy(both, o.has)
	maps.Copy(both, m.has)
	before := o.has
	o.state, o.has = state, both
	if state == "stopped" || state == "dead" {
		r := o.s.call(o.rng, false, "start", o.name)
		if r.code != 0 && r.code != 5 { // 5: it does run
			o.s.problem(r, "not to be started after %q", m.args)
			return false
		}
		o.state, o.has[""] = "running", true
	}
	switch o.state {
	case "absent":
		o.has = nil
	case "paused": // whatever became of a pause, or of a resume: from here on it is known
		if r := o.s.call(o.rng, false, "resume", o.name); r.code != 0 {
			o.s.problem(r, "not to be resumed after %q", m.args)
			return false
		}
		o.state = "running"
	}
	list, _ := o.s.checkpoints(o.rng, false, o.name)
	found := map[string]bool{}
	for _, c := range list {
		found[c.ID] = true
		if _, known := o.kept[c.ID]; !known && c.Label == "own" {
			if m.args[0] != "checkpoint" {
				o.s.problem(cut, "a checkpoint %s that nobody made", c.ID)
				return false
			}
			o.kept[c.ID] = before
		}
	}
	for id := range o.kept {
		if !found[id] {
			if m.args[0] != "forget" || id != m.args[2] {
				o.s.problem(cut, "checkpoint %s is lost; there are %v", id, list)
				return false
			}
			delete(o.kept, id)
		}
	}
	return o.confirm(cut)
}

// clone makes a VM of a checkpoint, looks at it and destroys it.
func (o *owner) clone(id string, kept tokens) bool {
	name := o.name + "-clone"
	r := o.s.call(o.rng, true, "restore", o.name, id, "--as", name)
	code := 0
	if kept == nil {
		code = 3
	}
	if r.over() {
		if r.code != code {
			o.s.problem(r, "the exit code must be %d", code)
			return false
		}
		if code == 0 {
			token, err := o.s.token(name)
			if err != nil || !kept[token] {
				o.s.problem(r, "the clone's token is %q, not in %v: %v", token, kept, err)
				return false
			}
			o.kept[id] = tokens{token: true}
		}
	}
	d := o.s.call(o.rng, false, "destroy", name)
	if d.code != code && (r.over() || d.code != 0 && d.code != 3) {
		o.s.problem(d, "the exit code after %q must be %d", r.args, code)
		return false
	}
	return true
}

// look holds what noid tells against what is known.
func (o *owner) look() bool {
	if list, ok := o.s.list(o.rng, true); ok {
		if there := slices.ContainsFunc(list, func(v machine) bool { return v.Name == o.name }); there != (o.state != "absent") {
			o.wrong("list says %v", list)
			return false
		}
	}
	// A VMM that does not answer within a second is taken for a running one.
	if state, r := o.inspect(); state != o.state && !(state == "running" && o.state == "paused") {
		o.s.problem(r, "it is %s", o.state)
		return false
	}
	list, ok := o.s.checkpoints(o.rng, true, o.name)
	if !ok {
		return true
	}
	own := 0
	for _, c := range list {
		if c.Label == "own" {
			own++
			if o.kept[c.ID] == nil {
				o.wrong("a checkpoint %s that nobody made", c.ID)
				return false
			}
		}
	}
	if own != len(o.kept) {
		o.wrong("checkpoints says %v, and there are %v", list, o.kept)
		return false
	}
	return true
}

// backups holds the number of automatic checkpoints against what is promised.
func (o *owner) backups() {
	list, _ := o.s.checkpoints(o.rng, false, o.name)
	n := 0
	for _, c := range list {
		if strings.HasPrefix(c.Label, "before restore to ") {
			n++
		}
	}
	if n > 3+1 { // one more where a command without a backup followed one that was cut short
		o.wrong("%d checkpoints from before restores are kept", n)
	}
}

func (o *owner) wrong(format string, args ...any) {
	o.s.problem(result{args: []string{"(" + o.name + ")"}}, format, args...)
}
