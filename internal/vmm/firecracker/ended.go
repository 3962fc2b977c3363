package firecracker

import (
	"path/filepath"

	"noid/internal/lazy"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// logTail is how much of the log is looked at: a clean exit's line is the last, or near it.
const logTail = 4 << 10

// cleanExit is what Firecracker logs last when its guest resets the machine, at level Info. A killed one logs nothing.
var cleanExit = lazy.Regexp(`(?m) Firecracker exiting successfully\. exit_code=0\s*$`)

// Ended implements vmm.Driver. A guest that powers off halts its CPUs for ever, and Firecracker stays: its guests have
// no ACPI power button.
func (d *Driver) Ended(dir string) vmm.Ending {
	console := vmm.SerialSinceStart(dir)
	switch {
	case cleanExit().Match(untrusted.Tail(filepath.Join(dir, LogFile), logTail)):
		if vmm.Panicked(console) {
			return vmm.EndedPanic
		}
		return vmm.EndedReboot
	case vmm.Halted(console):
		return vmm.EndedPoweroff
	}
	return vmm.EndedUnknown
}
