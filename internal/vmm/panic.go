package vmm

import (
	"bytes"

	"noid/internal/lazy"
)

var (
	kernelLine = lazy.Regexp(`^\[ *\d+\.\d{6}\]`)
	// A panic's line may follow a prompt or other output that did not end its line.
	panicLine = lazy.Regexp(`\[ *\d+\.\d{6}\] Kernel panic - not syncing`)
)

// SerialTail is how many bytes of a console's end hold what a kernel prints from a panic on: registers, a call trace
// and modules, 2–8 KB.
const SerialTail = 32 << 10

// Panicked reports whether a console's output ends with a kernel panic: its line, and none but the kernel's after it.
// So text that a guest merely showed, an old log say, does not count once anything else follows.
func Panicked(console []byte) bool {
	lines := bytes.Split(console, []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		line := bytes.TrimRight(lines[i], "\r")
		if panicLine().Match(line) {
			return true
		}
		if len(line) > 0 && !kernelLine().Match(line) {
			return false
		}
	}
	return false
}
