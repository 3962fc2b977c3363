// Package console is everything about a guest's serial console on the host's side: running commands in the shell that
// sits on it, attaching a terminal, showing the log safely and keeping the log's size in bounds.
//
// It knows a VM only by its directory, with two files: serial.in, the FIFO that the VMM reads as the guest's serial
// input, and serial.log, to which the VMM appends whatever the guest prints. The log's beginning may have been punched
// out (see Guard), and a log may be truncated; its reader copes with both. All that comes from the guest is hostile:
// every buffer is bounded, and every wait has an end.
package console

import (
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
func errNotRunning() error {
	return errs.New(errs.ErrState, "the VM is not running: nothing reads its console")
}

func logPath(dir string) string { return filepath.Join(dir, vmm.SerialLogFile) }
