package vm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"noid/internal/errs"
)

// Retention says which checkpoints of a VM stay, as restic's forget does: each rule keeps some, and what no rule keeps
// goes. Of several in one hour, day and so on the newest counts. With no rule at all, all stay.
type Retention struct {
	Last, Hourly, Daily, Weekly, Monthly, Yearly int
	Within                                       time.Duration // all that are younger than the newest by so much
	Labels                                       []string      // those that have one of these labels
	MaxBytes                                     int64         // the oldest go until the others' own bytes are no more; 0 for no bound
}

// rules reports whether r has a rule that keeps something.
func (r Retention) rules() bool {
	return r.Last+r.Hourly+r.Daily+r.Weekly+r.Monthly+r.Yearly > 0 || r.Within > 0 || len(r.Labels) > 0
}

// Planned is what becomes of a checkpoint when a VM is pruned.
type Planned struct {
	LogEntry
	Because []string // the rules that keep it
}

// Keep reports whether it stays.
func (p Planned) Keep() bool { return len(p.Because) > 0 }

// Prune removes the checkpoints of name that r does not keep, and returns what it has done, the newest first. It never
// removes a pinned one, one with a label, the one that the VM came from last, or a damaged one. With dryRun it removes
// nothing, and says the size of each.
func (m *Manager) Prune(ctx context.Context, name string, r Retention, dryRun bool) ([]Planned, error) {
	if !r.rules() && r.MaxBytes == 0 {
		return nil, errs.New(errs.ErrUsage, "prune: no rule says what is to be kept").Hint("'--keep-last 10' keeps the newest ten; 'noid prune --help' lists the rules")
	}
	if !dryRun {
		m.beginChange(ctx, "prune")
	}
	lock, err := m.Home.Lock(ctx, name, "prune")
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	plan, err := m.plan(ctx, name, r, dryRun, func(LogEntry) bool { return true })
	if err != nil || dryRun {
		return plan, err
	}
	if err := m.removeCheckpoints(name, going(plan)...); err != nil {
		return plan, err
	}
	m.pruneKernels(ctx)
	return plan, nil
}

// going are the ids of what nothing keeps.
func going(plan []Planned) (ids []string) {
	for _, p := range plan {
		if !p.Keep() {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// plan says what r does to those checkpoints of name for which counts is true, the newest first, with sizes if sized is
// true or r has a bound. The lock is held.
func (m *Manager) plan(ctx context.Context, name string, r Retention, sized bool, counts func(LogEntry) bool) ([]Planned, error) {
	entries, err := m.Checkpoints(ctx, name, false, sized || r.MaxBytes > 0)
	if err != nil && (entries == nil || r.MaxBytes > 0) {
		return nil, err
	}
	v, _ := m.Home.LoadVM(name) // it may be gone
	now, _ := strings.CutPrefix(lastOf(m.Home.VMDir(name), v), name+"@")
	var plan []Planned
	for _, c := range slices.Backward(entries) {
		c.Cause = cause(c.Checkpoint)
		e := LogEntry{CheckpointEntry: c}
		if !counts(e) {
			continue
		}
		e.Pinned = m.pinned(name, e.ID)
		p := Planned{LogEntry: e}
		switch {
		case e.Err != nil:
			p.Because = append(p.Because, "damaged")
		case e.ID == now:
			p.Because = append(p.Because, "the vm came from it")
		}
		if e.Pinned {
			p.Because = append(p.Because, "pinned")
		}
		if e.Labelled() {
			p.Because = append(p.Because, "label")
		}
		plan = append(plan, p)
	}
	r.apply(plan)
	return plan, nil
}

// apply adds to plan, which is sorted from the newest, what the rules keep.
func (r Retention) apply(plan []Planned) {
	all := !r.rules()
	var newest time.Time
	for i := range plan {
		if plan[i].Err == nil {
			newest = plan[i].CreatedAt
			break
		}
	}
	for i := range plan {
		p := &plan[i]
		keep := func(is bool, rule string) {
			if is {
				p.Because = append(p.Because, rule)
			}
		}
		keep(all, "max-bytes")
		keep(i < r.Last, "last")
		keep(r.Within > 0 && p.Err == nil && newest.Sub(p.CreatedAt) < r.Within, "within")
		keep(p.Label != "" && slices.Contains(r.Labels, p.Label), "label")
	}
	for _, rule := range []struct {
		name   string
		n      int
		bucket func(time.Time) string
	}{
		{"hourly", r.Hourly, func(t time.Time) string { return t.Format("2006-01-02 15") }},
		{"daily", r.Daily, func(t time.Time) string { return t.Format(time.DateOnly) }},
		{"weekly", r.Weekly, func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, w) }},
		{"monthly", r.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
		{"yearly", r.Yearly, func(t time.Time) string { return t.Format("2006") }},
	} {
		kept, last := 0, ""
		for i := range plan {
			if plan[i].Err != nil || kept >= rule.n {
				continue
			}
			if b := rule.bucket(plan[i].CreatedAt.Local()); b != last {
				kept, last = kept+1, b
				plan[i].Because = append(plan[i].Because, rule.name)
			}
		}
	}
	if r.MaxBytes > 0 {
		r.bound(plan)
	}
}

// bound lets the oldest go that a rule alone keeps until what is kept has no more than MaxBytes of its own. What
// several checkpoints share counts for none of them: forgetting one may free less than it says, and never more.
func (r Retention) bound(plan []Planned) {
	var sum int64
	for _, p := range plan {
		if p.Keep() && p.Size != nil {
			sum += p.Size.Own()
		}
	}
	for i := len(plan) - 1; i >= 0 && sum > r.MaxBytes; i-- {
		p := &plan[i]
		if p.Keep() && p.Size != nil && !slices.ContainsFunc(p.Because, func(why string) bool { return slices.Contains(always, why) }) {
			sum -= p.Size.Own()
			p.Because = nil
		}
	}
}

// always are the reasons that no rule overrules.
var always = []string{"damaged", "the vm came from it", "pinned", "label"}
