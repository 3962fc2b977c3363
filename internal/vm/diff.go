package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/link"
	"noid/internal/link/tree"
	"noid/internal/link/wire"
)

// Moment is a side of a Diff: a VM as it is, running or not, or with Ref its checkpoint of that name, or a clone of it
// with Now. With Image it is an image, whatever VM says.
type Moment struct {
	VM, Ref string
	Image   *image.Image
}

// String is the moment as a user writes it.
func (m Moment) String() string {
	switch {
	case m.Image != nil:
		return m.Image.Digest
	case m.Ref != "":
		return m.VM + "@" + m.Ref
	}
	return m.VM
}

// DiffOptions say what Diff looks for.
type DiffOptions struct {
	Paths []string // of the guest: these and what is below them; none for all
	All   bool     // also what changes by itself
	Texts bool     // fill in Change.Old and Change.New
	// Processes compares processes, and no files. Packages compares packages, of which it knows by the files that differ.
	Processes, Packages bool
	Wait                time.Duration // how long to wait for a guest to be up
}

// Diff is how two moments differ.
type Diff struct {
	Changes []Change // in the order of their paths
	Folded  int      // how many more there are of what changes by itself
	Cut     bool     // there are more than noid keeps, or than the guest lists
	// Processes are in the order of their ids, Packages of their managers and names.
	Processes []ProcessChange
	Packages  []PackageChange
}

// diffTime bounds a whole comparison: a guest may keep its host waiting.
const diffTime = 10 * time.Minute

// Diff compares the files of two moments. What is mounted in a guest's root is not looked at, nor /proc and the like. Two
// moments whose disks lie over one image are compared by what each has changed of that. Else all metadata is compared,
// and contents where that does not tell. What a guest lists it may have made up: its text is not fit for a terminal.
func (m *Manager) Diff(ctx context.Context, a, b Moment, o DiffOptions) (d Diff, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, diffTime, errs.New(errs.ErrTimeout, "diff: it takes longer than %s", diffTime))
	defer cancel()
	before, after, err := m.openSides(ctx, a, b, o.Wait)
	if err != nil {
		return d, err
	}
	defer before.close(ctx)
	defer after.close(ctx)
	c := &comparison{o: o, a: before, b: after}
	if o.Processes {
		d.Processes, err = c.compareProcesses(ctx)
	}
	if o.Processes && !o.Packages {
		return d, err
	}
	if err == nil {
		err = c.compare(ctx)
	}
	if err == nil {
		err = c.contents(ctx)
	}
	if err == nil {
		err = c.renames(ctx)
	}
	if err == nil && o.Texts {
		err = c.texts(ctx)
	}
	if err == nil && o.Packages {
		d.Packages, err = c.comparePackages(ctx)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	d.Changes, d.Folded, d.Cut = c.changes, c.folded, c.cut
	return d, err
}

// side is one side of a diff: a guest that answers.
type side struct {
	*session        // nil: an image that the other side is over
	clone    bool   // it vanishes at the end
	image    string // over which its own disk lies, "" for none
}

// openSides makes two guests answer, at the same time.
func (m *Manager) openSides(ctx context.Context, a, b Moment, wait time.Duration) (before, after *side, err error) {
	if a.Image != nil && b.Image != nil {
		return nil, nil, errs.New(errs.ErrUsage, "diff: neither %s nor %s is a vm", a, b).Hint("make a vm of one: noid create NAME --image")
	}
	sides, problems := [2]*side{}, [2]error{}
	var both sync.WaitGroup
	for i, at := range [2]Moment{a, b} {
		both.Go(func() { sides[i], problems[i] = m.openSide(ctx, at, wait) })
	}
	both.Wait()
	for i, at := range [2]Moment{a, b} {
		if errors.Is(problems[i], errs.ErrBusy) && problems[1-i] == nil { // with the other side's clone, say
			sides[i], problems[i] = m.openSide(ctx, at, wait)
		}
	}
	err = cmp.Or(problems[0], problems[1])
	for i, s := range sides {
		if other := sides[1-i]; err == nil && s.session == nil && s.image != other.image {
			err = errs.New(errs.ErrState, "diff: %s is not of the image %s", [2]Moment{a, b}[1-i], [2]Moment{a, b}[i]).
				Hint("make a vm of that image, and compare the two")
		}
	}
	if err != nil {
		for _, s := range sides {
			if s != nil {
				s.close(ctx)
			}
		}
		return nil, nil, err
	}
	return sides[0], sides[1], nil
}

func (m *Manager) openSide(ctx context.Context, at Moment, wait time.Duration) (*side, error) {
	if at.Image != nil {
		return &side{image: at.Image.Digest}, nil
	}
	s := &side{}
	var err error
	if at.Ref == "" {
		if s.session, err = m.look(at.VM, "diff"); err != nil {
			return nil, err
		}
		if s.stillRuns(ctx) != nil {
			at.Ref = Now
		} else if !s.vm.Machine.Agent {
			return nil, s.errNoAgent("make a vm without --no-agent")
		} else if err = s.introduce(ctx, max(wait, time.Millisecond)); err != nil {
			return nil, s.errorf("diff of", err)
		}
	}
	if at.Ref != "" {
		if s.session, err = m.lookInto(ctx, at.VM, at.Ref, "diff", wait); err != nil {
			return nil, err
		}
		s.clone = true
	}
	if s.vm.Machine.Base && s.vm.Image != nil {
		s.image = s.vm.Image.Digest
	}
	return s, nil
}

func (s *side) close(ctx context.Context) {
	if s.clone {
		s.vanish(ctx)
	}
}

// run runs a tool of the side's agent.
func (s *side) run(ctx context.Context, in io.Reader, out io.Writer, args ...string) error {
	client, said := s.agent(), &guestText{}
	client.Patience = answerTime
	exit, err := client.Exec(ctx, wire.Exec{Tool: true, Argv: byteSlices(args), Stdin: in != nil}, link.Streams{In: in, Out: out, Err: said})
	if err == nil {
		err = said.failure(exit)
	}
	if err != nil {
		return s.errorf("diff of", err)
	}
	return nil
}

// list has the side's guest list its files: with changes alone those that differ from its image.
func (s *side) list(ctx context.Context, changes bool) (*tree.Reader, func()) {
	r, w := io.Pipe()
	if s.session == nil { // as if nothing was changed
		go func() { w.CloseWithError(tree.NewWriter(w).Close()) }()
		return tree.NewReader(r), func() { r.Close() }
	}
	args, ended := []string{"walk"}, make(chan struct{})
	if changes {
		args = append(args, "changes")
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(ended)
		w.CloseWithError(s.run(ctx, nil, w, args...))
	}()
	return tree.NewReader(r), func() {
		cancel()
		r.Close()
		<-ended
	}
}

// compare has both guests list their files, and compares the lists as they come.
func (c *comparison) compare(ctx context.Context) error {
	overOne := c.a.image != "" && c.a.image == c.b.image
	ra, endA := c.a.list(ctx, overOne)
	defer endA()
	rb, endB := c.b.list(ctx, overOne)
	defer endB()
	c.related = overOne
	return c.merge(ctx, ra, rb)
}

// merge compares two lists.
func (c *comparison) merge(ctx context.Context, ra, rb *tree.Reader) error {
	a, errA := ra.Read()
	b, errB := rb.Read()
	for ctx.Err() == nil {
		switch {
		case errA != nil && errA != io.EOF:
			return fmt.Errorf("diff: %w", errA)
		case errB != nil && errB != io.EOF:
			return fmt.Errorf("diff: %w", errB)
		case errA == io.EOF && errB == io.EOF:
			c.cut = c.cut || ra.Cut || rb.Cut
			return nil
		case errB == io.EOF || errA == nil && tree.Less(a.Path, b.Path):
			c.add(a.Path, a.Now, a.Base)
			a, errA = ra.Read()
		case errA == io.EOF || tree.Less(b.Path, a.Path):
			c.add(b.Path, b.Base, b.Now)
			b, errB = rb.Read()
		default:
			if a.Path == "" { // clones of one disk have the very root
				c.related = c.related || a.Now != nil && b.Now != nil && a.Now.Birth != 0 && sameInode(a.Now, b.Now)
			}
			c.add(a.Path, a.Now, b.Now)
			a, errA = ra.Read()
			b, errB = rb.Read()
		}
	}
	return ctx.Err()
}

// sameInode reports whether two files of related disks are one file.
func sameInode(a, b *tree.File) bool {
	return a.Inode == b.Inode && a.Birth == b.Birth && (a.Mode^b.Mode)&unix.S_IFMT == 0
}
