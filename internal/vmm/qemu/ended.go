package qemu

import (
	"bytes"
	"encoding/json"
	"regexp"

	"noid/internal/vmm"
)

const (
	// eventsTail is how much of the events is looked at: SHUTDOWN is among the last three, of 200 bytes at most each.
	eventsTail = 16 << 10
	// serialTail holds what a kernel prints from a panic on: registers, a call trace and modules, 2–8 KB.
	serialTail = 32 << 10
)

// Ended implements vmm.Driver.
func (d *Driver) Ended(dir string) vmm.Ending {
	switch shutdownReason(tail(dir, eventsOutFile, eventsTail)) {
	case "guest-shutdown":
		return vmm.EndedPoweroff
	case "guest-panic":
		return vmm.EndedPanic
	case "guest-reset":
		if panicked(tail(dir, vmm.SerialLogFile, serialTail)) {
			return vmm.EndedPanic
		}
		return vmm.EndedReboot
	}
	return vmm.EndedUnknown // a signal to QEMU (host-signal), QMP's quit, or no word at all
}

// shutdownReason returns the reason of the last SHUTDOWN event (ShutdownCause in qapi/run-state.json), or "".
func shutdownReason(events []byte) (reason string) {
	for line := range bytes.Lines(events) {
		var event struct {
			Event string `json:"event"`
			Data  struct {
				Reason string `json:"reason"`
			} `json:"data"`
		}
		if json.Unmarshal(line, &event) == nil && event.Event == "SHUTDOWN" {
			reason = event.Data.Reason
		}
	}
	return reason
}

var (
	kernelLine = regexp.MustCompile(`^\[ *\d+\.\d{6}\]`)
	// A panic's line may follow a prompt or other output that did not end its line.
	panicLine = regexp.MustCompile(`\[ *\d+\.\d{6}\] Kernel panic - not syncing`)
)

// panicked reports whether a console's output ends with a kernel panic: its line, and none but the kernel's after it. So
// text that a guest merely showed, an old log say, does not count once anything else follows.
func panicked(console []byte) bool {
	lines := bytes.Split(console, []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		line := bytes.TrimRight(lines[i], "\r")
		if panicLine.Match(line) {
			return true
		}
		if len(line) > 0 && !kernelLine.Match(line) {
			return false
		}
	}
	return false
}
