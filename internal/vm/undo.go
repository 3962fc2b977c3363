package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/home"
)

// untouchedFile marks, in its directory, a VM of which nobody has wanted anything since its last checkpoint was made, or
// since it went back to one.
const untouchedFile = "untouched"

// touch notes that somebody changes what is in the guest.
func (s *session) touch() {
	os.Remove(s.file(markFile)) // first: endMark makes the other of it
	os.Remove(s.file(untouchedFile))
}

// touchStill is touch at the end of what was asked of a guest: a checkpoint that was made meanwhile has half of it. A VM
// that was put back meanwhile, or was replaced, knows nothing of it.
func (s *session) touchStill() {
	if v, err := s.Home.LoadVM(s.vm.Name); err == nil && v.Process == s.vm.Process {
		s.touch()
	}
}

// touching touches the VM with all that is typed.
type touching struct {
	io.Reader
	touch func()
}

func (t touching) Read(b []byte) (int, error) {
	n, err := t.Reader.Read(b)
	if n > 0 {
		t.touch()
	}
	return n, err
}

// Undone is what Undo and Redo did.
type Undone struct {
	To   checkpoint.Record // what the VM is now
	Kept string            // the id of the checkpoint of what it was
}

// Undo puts name back to before its last n changes: to the checkpoint that was made of it last, and from there to the
// one before each. A VM that nobody has touched since its last checkpoint goes to the one before that. Who has just
// restored one gets back what was there before. The present is kept as a checkpoint, for Redo. Errors are those of
// Restore, and errs.ErrState where there is nothing to undo.
func (m *Manager) Undo(ctx context.Context, name string, n int) (Undone, error) {
	return m.travel(ctx, name, "undo", func(v home.VM) (string, RestoreOptions, error) {
		id, err := m.back(v, n)
		o := RestoreOptions{undo: true}
		if m.isUntouched(v) {
			o.left = v.Redo
		}
		return id, o, err
	})
}

// Redo takes back the last n of Undo, as long as nobody has touched the VM since: else it is errs.ErrState.
func (m *Manager) Redo(ctx context.Context, name string, n int) (Undone, error) {
	return m.travel(ctx, name, "redo", func(v home.VM) (string, RestoreOptions, error) {
		switch {
		case len(v.Redo) > 0 && !m.isUntouched(v):
			return "", RestoreOptions{}, errs.New(errs.ErrState, "redo: vm %q has changed since the undo", name).
				Hint(fmt.Sprintf("'noid restore %s %s' goes there all the same; 'noid log %s' shows all that was left", name, v.Redo[len(v.Redo)-1], name))
		case len(v.Redo) == 0:
			return "", RestoreOptions{}, errs.New(errs.ErrState, "redo: vm %q was not put back by an undo", name)
		case n > len(v.Redo):
			return "", RestoreOptions{}, errs.New(errs.ErrState, "redo: of vm %q no more than %d can be done again", name, len(v.Redo))
		}
		left := len(v.Redo) - n
		return v.Redo[left], RestoreOptions{redo: true, left: v.Redo[:left]}, nil
	})
}

// travel restores name in place to the checkpoint of it that find names.
func (m *Manager) travel(ctx context.Context, name, verb string, find func(home.VM) (id string, o RestoreOptions, err error)) (u Undone, err error) {
	if err := m.beginFilling(ctx, verb); err != nil {
		return u, err
	}
	lock, err := m.Home.Lock(ctx, name, verb)
	if err != nil {
		return u, err
	}
	defer lock.Unlock()
	v, err := m.record(name)
	if err != nil {
		return u, err
	}
	id, o, err := find(v)
	if err != nil {
		return u, err
	}
	to, err := m.checkpointOf(ctx, name, id, verb, whole)
	if err == nil {
		o.Kept = func(id string) { u.Kept = id }
		u.To = to.c
		err = to.inPlace(ctx, o)
	}
	if err != nil {
		err = fmt.Errorf("%s of vm %q to %s: %w", verb, name, id, err)
	}
	return u, err
}

func (m *Manager) isUntouched(v home.VM) bool {
	return exists(filepath.Join(m.Home.VMDir(v.Name), untouchedFile))
}

// back returns the id of the checkpoint that v was n changes ago.
func (m *Manager) back(v home.VM, n int) (id string, err error) {
	last := lastOf(m.Home.VMDir(v.Name), v)
	ref := m.before(v.Name, last)
	if m.isUntouched(v) {
		switch {
		case v.Before != "" && last == v.RestoredFrom:
			ref = v.Name + "@" + v.Before
		case ref == last: // else the last one was forgotten, and the one before it is a change ago
			if ref, err = m.parentOf(v.Name, m.firstSame(v.Name, ref)); err != nil {
				return "", err
			}
		}
	}
	if _, err := m.idOf(v.Name, ref); err != nil {
		return "", err
	}
	for i := range n - 1 {
		if ref, err = m.parentOf(v.Name, m.firstSame(v.Name, ref)); err != nil {
			return "", err
		}
		if _, err := m.idOf(v.Name, ref); err != nil {
			return "", errs.New(errs.ErrState, "undo: of vm %q no more than %d can be undone", v.Name, i+1)
		}
	}
	if id, err = m.idOf(v.Name, ref); err == nil && !exists(m.Home.CheckpointDir(v.Name, id)) {
		err = errForgotten(v.Name, id)
	}
	return id, err
}

// errForgotten says why nothing before checkpoint id of name can be undone.
func errForgotten(name, id string) error {
	return errs.New(errs.ErrState, "undo: checkpoint %s of vm %q was forgotten: what came before it is not known", id, name).
		Hint("'noid log " + name + "' shows what there is; 'noid restore' goes to any of it")
}

// firstSame returns the first checkpoint of name that is as the one that ref names: between them nobody asked anything of
// the guest, as after a 'noid try' that went back.
func (m *Manager) firstSame(name, ref string) string {
	for {
		id, err := m.idOf(name, ref)
		if err != nil {
			return ref
		}
		c, err := m.Home.LoadCheckpoint(name, id)
		parent, parentErr := m.idOf(name, c.Parent)
		if err != nil || !c.Untouched || parentErr != nil || !exists(m.Home.CheckpointDir(name, parent)) {
			return ref
		}
		ref = c.Parent
	}
}

// parentOf returns, as "vm@id", the checkpoint that name was before the one that ref names, without those that were
// forgotten.
func (m *Manager) parentOf(name, ref string) (string, error) {
	id, err := m.idOf(name, ref)
	if err != nil {
		return "", err
	}
	c, err := m.Home.LoadCheckpoint(name, id)
	if errors.Is(err, errs.ErrNotFound) {
		return "", errForgotten(name, id)
	}
	return m.before(name, c.Parent), err
}

// idOf returns the id of ref if that is a checkpoint of name itself.
func (m *Manager) idOf(name, ref string) (string, error) {
	of, id, err := ParseRef(ref)
	if ref != "" && err == nil && of == name {
		return id, nil
	}
	err = errs.New(errs.ErrState, "undo: vm %q has no earlier checkpoint", name).
		Hint("'noid auto " + name + " exec' makes one before each command, 'noid checkpoint " + name + "' one now")
	if of != "" && of != name {
		err = errs.WithHint(err, "it was made from "+ref+": 'noid restore "+ref+" --as NEW' makes another")
	}
	return "", err
}
