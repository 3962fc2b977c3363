package firecracker

import (
	"path/filepath"
	"strconv"

	"noid/internal/lazy"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// logTail is how much of the log is looked at: a clean exit's line is the last, or near it.
const logTail = 4 << 10

// cleanExit is what Firecracker logs last when its guest resets the machine, at level Info. A killed one logs nothing.
var cleanExit = lazy.Regexp(`(?m) Firecracker exiting successfully\. exit_code=0\s*$`)

// halted is a kernel's last line: x86 guests of Firecracker have no ACPI power button, so "Power down" ends in a halt
// too.
var halted = lazy.Regexp(`\[ *\d+\.\d{6}\] reboot: (?:System halted|Power down)\r?\n?$`)

// Ended implements vmm.Driver. A guest that powers off halts its CPUs for ever, and Firecracker stays.
func (d *Driver) Ended(dir string) vmm.Ending {
	console := serialSinceStart(dir)
	switch {
	case cleanExit().Match(untrusted.Tail(filepath.Join(dir, LogFile), logTail)):
		if vmm.Panicked(console) {
			return vmm.EndedPanic
		}
		return vmm.EndedReboot
	case halted().Match(console):
		return vmm.EndedPoweroff
	}
	return vmm.EndedUnknown
}

// serialSinceStart is the end of what the guest wrote since Start or Load.
func serialSinceStart(dir string) []byte {
	data, size := untrusted.TailSize(filepath.Join(dir, vmm.SerialLogFile), vmm.SerialTail)
	start, err := strconv.ParseInt(string(untrusted.Tail(filepath.Join(dir, serialStartFile), 20)), 10, 64)
	if err != nil || start > size { // the log was cut since
		return data
	}
	return data[max(0, int64(len(data))-(size-start)):]
}
