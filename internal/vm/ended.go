package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"noid/internal/errs"
	"noid/internal/lazy"
	"noid/internal/link"
	"noid/internal/storage"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// What an error quotes of the end of a log, at most.
const (
	quotedLines = 10
	quotedLine  = 200 // characters
)

const (
	fullDisk  = 1 << 20 // bytes that are free, below which a VMM's end is put down to that
	littleMiB = 96      // of memory, which distributions' kernels may not boot with
)

// A stateError is an error about a VM's state that names verb and VM.
type stateError struct{ error }

func (e stateError) Unwrap() error { return e.error }

// paused is the error of the verb for a VM that is paused: an errs.ErrHost where that is for want of something of this
// host's.
func (s *session) paused() error {
	if why := s.driver.WhyPaused(s.dir); why != "" {
		hint := FullHint + "; it then goes on by itself"
		if s.lease != nil || s.hidden {
			hint = FullHint
		}
		return stateError{errs.New(errs.ErrHost, "%s: vm %q is paused: %s", s.verb, s.vm.Name, why).Hint(hint)}
	}
	return stateError{errs.New(errs.ErrState, "%s: vm %q is paused", s.verb, s.vm.Name).Hint("let it run with 'noid resume " + s.vm.Name + "'")}
}

// ended is the error of the verb for a VM that does not run: its state is st. Where nobody asked for that it says why,
// and ends with the last lines of the guest's console, or of the VMM's log where the guest did not end by itself.
func (s *session) ended(st State) error {
	if st == Elsewhere {
		return elsewhere(s.vm, s.verb)
	}
	name, why, quote := s.vm.Name, "", ""
	if st == Dead || !s.vm.StopRequested {
		how, log := s.ending()
		if why = how; log != "" {
			quote = s.lastLines(log)
		}
	}
	is := fmt.Sprintf("is not running: it is %s", st)
	if st == Dead {
		is = "is dead"
	}
	kind, hint := errs.ErrState, "boot it with 'noid start "+name+"'"
	if quote != "" {
		hint = "'noid logs " + name + "' and 'noid logs --vmm " + name + "' show more; 'noid start " + name + "' boots it from its disk"
	}
	if s.lease != nil {
		hint = "without --rm the vm and its logs stay"
	}
	if s.hidden {
		hint = "the clone is gone; 'noid restore --as' or 'noid fork' makes one that stays"
	}
	free, err := storage.Free(s.dir)
	switch {
	case st == Dead && err == nil && free < fullDisk:
		kind, why, hint = errs.ErrHost, why+": the disk is full", FullHint
	case st == Dead && s.vm.Unannounced != nil && s.vm.Machine.MemMiB < littleMiB:
		hint = fmt.Sprintf("%d MiB of memory may be too little for its kernel (--mem); ", s.vm.Machine.MemMiB) + hint
	}
	return stateError{errs.New(kind, "%s: vm %q %s%s%s", s.verb, name, is, why, quote).Hint(hint)}
}

// ending says how the guest ended, to be appended to the VM's state, and which file of the VM's directory shows more.
func (s *session) ending() (how, log string) {
	switch s.driver.Ended(s.dir) {
	case vmm.EndedPoweroff:
		return ": its guest powered off or halted", ""
	case vmm.EndedReboot:
		return ": its guest rebooted, which ends a VM", vmm.SerialLogFile
	case vmm.EndedPanic:
		return ": its guest's kernel panicked", vmm.SerialLogFile
	}
	return ": its VMM ended", s.driver.Logs()[0]
}

// escapes are the sequences by which a terminal is controlled (ECMA-48, 5.3 and 5.4).
var escapes = lazy.Regexp(`\x1b(?:\[[0-?]*[ -/]*[@-~]|[ -/]*[0-Z\\-~])`)

// lastLines returns the last lines of a log of the VM, each after a newline: of its console those since the VM was
// started, and of a panic the first.
func (s *session) lastLines(log string) string {
	data := untrusted.Tail(s.file(log), vmm.SerialTail)
	if log == vmm.SerialLogFile {
		data = vmm.SerialSinceStart(s.dir)
	}
	lines := strings.Split(untrusted.Text(escapes().ReplaceAll(data, nil)), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" })
	last := max(0, len(lines)-quotedLines)
	for i := last; i >= 0 && i < len(lines); i-- {
		if strings.Contains(lines[i], "Kernel panic - ") { // registers follow
			last = i
			break
		}
	}
	lines = lines[last:min(len(lines), last+quotedLines)]
	for i := range lines {
		lines[i] = untrusted.Line(lines[i], quotedLine)
	}
	if len(lines) == 0 {
		return ""
	}
	return "\n" + strings.Join(lines, "\n")
}

// explain makes err one of the VM's state where its VMM has ended since the verb began: its guest powered off, say. It
// says how, and is complete: the VM and the verb are in it.
func (s *session) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	wait, cancel := context.WithTimeout(context.Background(), endingWait)
	defer cancel()
	if s.vm.Process.Wait(wait) != nil && s.driver.Ended(s.dir) != vmm.EndedPoweroff {
		return err
	}
	v, gone := s.Home.LoadVM(s.vm.Name)
	if _, stat := os.Lstat(s.dir); errors.Is(stat, fs.ErrNotExist) && gone != nil {
		return stateError{errs.New(errs.ErrState, "%s: vm %q was destroyed meanwhile", s.verb, s.vm.Name)}
	}
	if gone == nil && v.Process.Alive() && v.Process != s.vm.Process { // a restore in place
		return err
	} else if gone == nil {
		s.vm = v
	}
	ended := s.ended(stateWithin(wait, s.driver, s.dir, s.vm, 0))
	if errors.Is(err, link.ErrDead) {
		return ended
	}
	return errs.WithHint(fmt.Errorf("%w: %w", err, ended), errs.Hint(ended))
}
