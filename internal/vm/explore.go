package vm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/home"
)

// ExploreOptions say how Explore runs its variants.
type ExploreOptions struct {
	Jobs    int      // at a time
	Score   []string // a command that prints a number when a variant has ended well; nil for none
	Changes bool     // count the files that each variant has changed
}

// maxVariants bounds one exploration, and maxExplored, in bytes, what is kept of a variant's output: the end of it.
const (
	maxVariants = 1000
	maxExplored = 64 << 10
)

// Variant is how one variant of an exploration went.
type Variant struct {
	N      int    // from 1
	What   string // its command
	State  string // "running" or "ended"
	Exit   Exit
	Err    error // why noid could not run it, score it or keep it
	Took   time.Duration
	Score  string // what the score's command printed last, "" for nothing
	Output []byte // the end of it, error output included. It is the guest's: not fit for a terminal
	// Changes is how many files differ from before, as Diff has it. With ExploreOptions.Changes alone.
	Changes int
	ID      string // the checkpoint of what it has made; "" where there is none
}

// Good reports whether the command of an ended variant succeeded.
func (v Variant) Good() bool { return v.Err == nil && v.Exit.Code == 0 && !v.Exit.TimedOut }

// Explore runs each of commands, which differ from c by their Argv, in a clone of its own of the VM name, as its checkpoint
// ref or Now has it, and keeps what each has made as a checkpoint of name. The clones have the network that a clone has.
// told is called when a variant begins and when it has ended, one call at a time. When ctx is cancelled the clones go,
// and what has ended stays. The returned variants are those that have ended, by their numbers.
func (m *Manager) Explore(ctx context.Context, name, ref string, commands [][]string, c Command, o ExploreOptions, told func(Variant)) ([]Variant, error) {
	if len(commands) == 0 || len(commands) > maxVariants {
		return nil, errs.New(errs.ErrUsage, "explore: an exploration has 1 to %d variants, not %d", maxVariants, len(commands))
	}
	e := &exploration{Manager: m, name: name, c: c, o: o}
	if err := e.begin(ctx, ref); err != nil {
		return nil, err
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var ended []Variant
	slots := make(chan struct{}, max(1, o.Jobs))
	for i, argv := range commands {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-slots }()
			v := Variant{N: i + 1, What: checkpoint.CommandLine(argv), State: "running"}
			tell := func() {
				mu.Lock()
				defer mu.Unlock()
				if told != nil {
					told(v)
				}
				if v.State == "ended" && ctx.Err() == nil {
					ended = append(ended, v)
				}
			}
			tell()
			began := time.Now()
			v.Err = e.run(ctx, argv, &v)
			v.State, v.Took = "ended", time.Since(began)
			tell()
		})
	}
	all.Wait()
	slices.SortFunc(ended, func(a, b Variant) int { return a.N - b.N })
	return ended, ctx.Err()
}

// exploration is one Explore.
type exploration struct {
	*Manager
	name string
	from string // the id of the checkpoint that all variants start from
	id   string // of this exploration
	c    Command
	o    ExploreOptions
	turn sync.Mutex // is held by the variant that has the VM's lock: waiting for that one is bounded
}

// begin finds or makes the checkpoint that all start from.
func (e *exploration) begin(ctx context.Context, ref string) (err error) {
	if err := e.c.check(); err != nil {
		return err
	}
	e.id = home.NewID(nil)
	if ref == Now {
		e.from, err = e.checkpointAuto(ctx, e.name, checkpoint.Cause{By: checkpoint.ByExplore, What: "(start)", Turn: e.id + ".0"})
		return err
	}
	if err := e.beginFilling(ctx, "explore"); err != nil {
		return err
	}
	s, lock, err := e.findCheckpoint(ctx, e.name, ref, "explore")
	if err != nil {
		return err
	}
	lock.Unlock()
	e.from = s.c.ID
	return nil
}

// run is one variant.
func (e *exploration) run(ctx context.Context, argv []string, v *Variant) (err error) {
	s, err := e.clone(ctx)
	if err != nil {
		return err
	}
	defer s.discard(ctx)
	out := &lastBytes{limit: maxExplored}
	c := e.c
	c.Argv = argv
	if v.Exit, err = s.exec(ctx, c, Streams{Out: out, Err: out}); err != nil {
		return err
	}
	v.Output = out.Bytes()
	var scoreErr error // of which what it has made knows nothing
	if v.Good() && len(e.o.Score) > 0 {
		v.Score, scoreErr = e.score(ctx, s)
	}
	if e.o.Changes {
		d, err := e.Diff(ctx, Moment{VM: e.name, Ref: e.from}, Moment{VM: s.vm.Name}, DiffOptions{Wait: c.Wait})
		if err != nil {
			return err
		}
		v.Changes = len(d.Changes)
	}
	v.ID, err = e.keep(ctx, s, v)
	return errors.Join(scoreErr, err)
}

// clone makes a clone that goes with this process.
func (e *exploration) clone(ctx context.Context) (s *session, err error) {
	err = e.named(func(name string) error {
		lease, err := e.Home.NewLease(ctx, name)
		if err != nil {
			return err
		}
		e.turn.Lock()
		from, lock, err := e.findCheckpoint(ctx, e.name, e.from, "explore")
		free := sync.OnceFunc(func() { lock.Unlock(); e.turn.Unlock() })
		if err == nil {
			from.lease, from.staged = lease, free
			s, err = from.clone(ctx, home.VM{Name: name, RestoredFrom: e.name + "@" + e.from}, true)
		}
		free()
		if err != nil {
			lease.End()
		}
		return err
	})
	return s, err
}

// score is what the score's command printed last, if that is a number.
func (e *exploration) score(ctx context.Context, s *session) (string, error) {
	c, out := e.c, &lastBytes{limit: 1 << 10}
	c.Argv = e.o.Score
	exit, err := s.exec(ctx, c, Streams{Out: out})
	if err != nil {
		return "", err
	}
	words := strings.Fields(string(out.Bytes()))
	if exit.TimedOut {
		return "", errs.New(errs.ErrTimeout, "the score's command was not done in time")
	}
	if exit.Code != 0 || len(words) == 0 {
		return "", errs.New(errs.ErrState, "the score's command ended with %d and printed %d words", exit.Code, len(words)).Hint("it is to print a number")
	}
	last := words[len(words)-1]
	if f, err := strconv.ParseFloat(last, 64); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return "", errs.New(errs.ErrState, "the score's command printed %.40q", last).Hint("it is to print a number")
	}
	return last, nil
}

// keep makes a checkpoint of the VM itself of the clone.
func (e *exploration) keep(ctx context.Context, clone *session, v *Variant) (id string, err error) {
	s, err := e.open(ctx, clone.vm.Name, "explore")
	if err != nil {
		return "", err
	}
	defer s.close()
	c, staging, err := s.capture(ctx, s.state(ctx), "")
	defer s.removeCapture(staging)
	if err != nil {
		return "", s.explain(s.errorf("explore of", err))
	}
	e.turn.Lock()
	defer e.turn.Unlock()
	lock, err := e.Home.Lock(ctx, e.name, "explore")
	if err != nil {
		return "", err
	}
	defer lock.Unlock()
	c.VM, c.ID, c.Parent = e.name, e.Home.NewCheckpointID(e.name), e.name+"@"+e.from
	c.Cause = checkpoint.Cause{By: checkpoint.ByExplore, What: v.What, Turn: e.id + "." + strconv.Itoa(v.N)}
	if err := s.publishCheckpoint(ctx, staging, &c, settled); err != nil {
		return "", err
	}
	return c.ID, nil
}

// KeepVariant puts name to what the variant which of its last exploration has made: a number, or the id of its
// checkpoint. The other variants of that exploration are forgotten, but for those that are pinned. The present is kept
// as a checkpoint.
func (m *Manager) KeepVariant(ctx context.Context, name, which string) (Undone, error) {
	var others []string
	u, err := m.travel(ctx, name, "keep", func(home.VM) (string, RestoreOptions, error) {
		id, rest, err := m.variant(ctx, name, which)
		others = rest
		return id, RestoreOptions{}, err
	})
	if err != nil {
		return u, err
	}
	if err := m.forget(ctx, name, func() ([]string, error) { return others, nil }); err != nil {
		m.warn(fmt.Sprintf("other variants stay: %v", err))
	}
	return u, nil
}

// variant finds the checkpoint of a variant, and those of the others of its exploration.
func (m *Manager) variant(ctx context.Context, name, which string) (id string, others []string, err error) {
	list, err := m.Home.CheckpointLabels(ctx, name)
	if err != nil {
		return "", nil, err
	}
	exploration, newest := "", ""
	for _, e := range slices.Backward(list) { // the newest first
		if e.Cause.By != checkpoint.ByExplore {
			continue
		}
		of, n, _ := strings.Cut(e.Cause.Turn, ".")
		newest = cmp.Or(newest, of) // its start alone may be there
		if n != "0" && (e.ID == which || n == which && of == newest) {
			id, exploration = e.ID, of
			break
		}
	}
	if id == "" {
		return "", nil, errs.New(errs.ErrNotFound, "no variant %.40q of vm %q", which, name).Hint("'noid log " + name + "' shows the variants")
	}
	for _, e := range list {
		of, n, _ := strings.Cut(e.Cause.Turn, ".")
		if e.Cause.By == checkpoint.ByExplore && of == exploration && n != "0" && e.ID != id && !m.pinned(name, e.ID) {
			others = append(others, e.ID)
		}
	}
	return id, others, nil
}

// lastBytes keeps the last bytes that are written to it, limit of them at least and twice as many at most.
type lastBytes struct {
	mu    sync.Mutex
	limit int
	b     bytes.Buffer
}

func (l *lastBytes) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	l.b.Write(p[max(0, n-l.limit):])
	if over := l.b.Len() - l.limit; over > l.limit {
		l.b.Next(over)
	}
	return n, nil
}

// Bytes are the last ones, limit at most.
func (l *lastBytes) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.b.Bytes()
	return bytes.Clone(b[max(0, len(b)-l.limit):])
}
