package vm

import (
	"context"
	"encoding/json"

	"noid/internal/errs"
)

// Note is what a front end keeps with a VM: a JSON document of its own, which goes with the VM, stays when that is put
// back, and is nobody else's to read.
type Note = json.RawMessage

// maxNote bounds a note, in bytes.
const maxNote = 64 << 10

// ChangeNote has change make a new note of the one that the VM name has, if it has one; nil leaves it.
func (m *Manager) ChangeNote(ctx context.Context, name string, change func(Note) (Note, error)) error {
	s, err := m.open(ctx, name, "note")
	if err != nil {
		return err
	}
	defer s.close()
	note, err := change(s.vm.Note)
	if err != nil || note == nil {
		return err
	}
	if err := checkNote(note); err != nil {
		return err
	}
	s.vm.Note = note
	return s.save()
}

// checkNote refuses a note that is too large.
func checkNote(n Note) error {
	if len(n) > maxNote {
		return errs.New(errs.ErrUsage, "what is to be kept with the vm has %d bytes, %d is the most", len(n), maxNote)
	}
	return nil
}

// Notes calls each for every VM that has a note, until it returns false. What cannot be read is passed over.
func (m *Manager) Notes(each func(name string, n Note) bool) error {
	names, err := m.Home.VMNames()
	for _, name := range names {
		if v, err := m.Home.LoadVM(name); err == nil && len(v.Note) > 0 && !each(name, v.Note) {
			break
		}
	}
	return err
}
