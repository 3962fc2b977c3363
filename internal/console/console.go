// Package console is the host's side of a guest's serial console. It runs commands in the shell on the console,
// attaches a terminal, copies the log and bounds its size.
//
// It knows a VM by two files in its directory. serial.in is the FIFO that the VMM reads as the guest's serial input.
// The VMM appends what the guest prints to serial.log. That may be truncated, and its beginning punched out (see
// BoundLog). What comes from the guest is hostile: every buffer is bounded, and every wait has an end.
package console

import (
	"cmp"
	"path/filepath"
	"time"

	"noid/internal/errs"
	"noid/internal/vmm"
)

const (
	execLockFile  = "exec.lock"  // held by the one Exec that uses the console; its content says whether one was cut off
	inputLockFile = "input.lock" // held while a line is in flight to the guest

	pollMin = time.Millisecond      // first pause of a reader that found nothing new
	pollMax = 20 * time.Millisecond // longest pause
)

// errNotRunning is the state error for a FIFO that nobody reads.
var errNotRunning = errs.New(errs.ErrState, "the VM is not running: nothing reads its console")

// defaults fills in what AttachOptions and ExecOptions leave out.
func defaults(dir string, lockDir *string, alive *func() bool) {
	*lockDir = cmp.Or(*lockDir, dir)
	if *alive == nil {
		*alive = func() bool { return hasReader(dir) }
	}
}

func logPath(dir string) string { return filepath.Join(dir, vmm.SerialLogFile) }
