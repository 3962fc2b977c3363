package qemu

import (
	"bytes"
	"encoding/json"
	"path/filepath"

	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// eventsTail is how much of the events is looked at: SHUTDOWN is among the last three, of 200 bytes at most each.
const eventsTail = 16 << 10

// Ended implements vmm.Driver.
func (d *Driver) Ended(dir string) vmm.Ending {
	switch shutdownReason(untrusted.Tail(filepath.Join(dir, eventsOutFile), eventsTail)) {
	case "guest-shutdown":
		return vmm.EndedPoweroff
	case "guest-panic":
		return vmm.EndedPanic
	case "guest-reset":
		if vmm.Panicked(untrusted.Tail(filepath.Join(dir, vmm.SerialLogFile), vmm.SerialTail)) {
			return vmm.EndedPanic
		}
		return vmm.EndedReboot
	}
	if vmm.Halted(vmm.SerialSinceStart(dir)) { // QEMU stays
		return vmm.EndedPoweroff
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
