package vm

import (
	"context"
	"errors"
	"io"
	"os"

	"noid/internal/console"
	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/vmm"
)

// LogOptions say which log Logs copies.
type LogOptions struct {
	VMM    bool // the VMM's own, not the console's
	Follow bool // go on as more is written, until the VM is gone
	Last   int  // this many lines of its end alone; negative for all of it
}

// Logs copies a log of name to w as the guest or the VMM wrote it: not fit for a terminal before it went through
// package untrusted. A log that is not there is errs.ErrNotFound.
func (m *Manager) Logs(ctx context.Context, name string, o LogOptions, w io.Writer) error {
	s, err := m.look(name, "logs")
	if _, broken := errors.AsType[*manifest.BrokenError](err); broken && !o.VMM { // the console's log lies there all the same
		s = &session{dir: m.Home.VMDir(name)}
	} else if err != nil {
		return err
	}
	log := vmm.SerialLogFile
	if o.VMM {
		log = s.driver.Logs()[0]
	}
	err = console.CopyLog(ctx, w, s.file(log), o.Last, o.Follow, s.vm.Process.Alive)
	if errors.Is(err, os.ErrNotExist) { // no VMM has run yet, or the VM was destroyed meanwhile
		err = errs.Mark(err, errs.ErrNotFound)
	}
	return err
}
